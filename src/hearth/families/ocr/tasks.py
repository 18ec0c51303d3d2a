"""The task of the service ``ocr``."""

from typing import TYPE_CHECKING

from hearth.catalog import FieldInfo, SchemaInfo
from hearth.families.ocr import parameters
from hearth.media import ImagePayload
from hearth.media.formats import PICTURES
from hearth.tasks import render
from hearth.tasks.answer import Result
from hearth.tasks.images import parse_image
from hearth.tasks.options import Option
from hearth.tasks.task import Call, Task

if TYPE_CHECKING:  # the model brings OpenCV and rapidocr along
    from hearth.families.ocr.model import Line, OcrModel

OCR_V1 = SchemaInfo(
    "ocr_v1",
    "lines of text in a picture",
    (
        FieldInfo(
            "items",
            "items",
            fields=(
                FieldInfo("box", "corners", "corners in pixels, from the top left, clockwise"),
                FieldInfo("text", "text"),
                FieldInfo("confidence", "score"),
            ),
        ),
        render.COUNT,
        render.MODEL,
    ),
    nothing="no text",
    value="Texts",
)
UNREAD = "unread"
"""Key of an answer's meta: how many lines were found and left out, where there are some."""

MIN_CONFIDENCE = Option(
    "min_confidence",
    "float",
    parameters.TEXT_SCORE,
    "leave out lines that are less certain than this",
    # The Go SDKs send recognition_threshold; the others are what such nodes and rapidocr call it.
    aliases=(
        "ocr.min_confidence",
        "recognition_threshold",
        "rec_threshold",
        "rec_thresh",
        "text_score",
    ),
    least=0,
    most=1,
)


async def _read(model: "OcrModel", file: ImagePayload, call: Call) -> "tuple[Line, ...]":
    return await model.read_all(file, call.context)


def _render(model: "OcrModel", lines_found: "tuple[Line, ...]", call: Call) -> Result:
    lines = [line for line in lines_found if line.is_read(call.options[MIN_CONFIDENCE.name])]
    content = {
        "items": [
            {"box": line.box, "text": line.text, "confidence": line.confidence} for line in lines
        ],
        "count": len(lines),
        "model_id": model.model_id,
    }
    meta = {"count": str(len(lines)), render.MODEL_ID: model.model_id}
    if unread := len(lines_found) - len(lines):
        meta[UNREAD] = str(unread)
    return render.as_json(content, OCR_V1, meta)


OCR_TASKS: tuple[Task, ...] = (
    Task(
        name="ocr",
        service="ocr",
        summary="the lines of text in a picture, and where they stand",
        inputs=PICTURES,
        schema=OCR_V1,
        parse=parse_image,
        call=_read,
        render=_render,
        options=(MIN_CONFIDENCE,),
        limits={"max_lines": str(parameters.DET_MAX_CANDIDATES)},
    ),
)
