"""The task ``selfie_segmentation``."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from hearth.catalog import JSON, RAW, FieldInfo
from hearth.families.mediapipe.frame import Frame
from hearth.families.mediapipe.model import MediaPipeModel
from hearth.families.mediapipe.tasks.accept import ACCEPT, chosen, format_option
from hearth.families.mediapipe.tasks.frames import Past, frame_task
from hearth.families.mediapipe.tasks.options import SEGMENTER
from hearth.families.mediapipe.tasks.shapes import Size
from hearth.media import encode
from hearth.media.mask import IN_FRONT, SoftMask, runs
from hearth.media.raw import Pixels
from hearth.tasks.answer import Result
from hearth.tasks.options import Option
from hearth.tasks.task import Call

FORMATS = {"png": "image/png", "raw": RAW, "rle": JSON}

ORDER = "row-major, starting with background"

FORMAT = format_option(
    FORMATS,
    "png: a grey picture; raw: a byte a pixel, rows from the top; rle: lengths of runs as JSON; "
    "without it, as accept says, or png",
)
THRESHOLD = Option(
    "threshold",
    "float",
    None,
    f"255 where the mask is more than this, else 0; unset: soft, 0 to 255 (rle: {IN_FRONT})",
    least=0,
    most=1,
)


class _Mask(NamedTuple):
    format: str
    content: Any
    """Content as bytes, or the counts of runs as JSON."""
    coverage: float
    threshold: float | None


async def _follow(model: MediaPipeModel, frame: Frame, _: Past, call: Call) -> tuple[_Mask, None]:
    kind = chosen(call, FORMATS, "png")
    threshold = call.options[THRESHOLD.name]
    if kind == "rle" and threshold is None:
        threshold = IN_FRONT
    mask = await model.selfie.find(frame, model=call.options[SEGMENTER.name], context=call.context)
    return await model.making.made(lambda _: _encoded(mask, kind, threshold), call.context), None


def _encoded(mask: SoftMask, kind: str, threshold: float | None) -> _Mask:
    pixels, coverage = mask.eight_bit(threshold)
    encoders = {"png": encode.png, "raw": lambda pixels: pixels.tobytes(), "rle": _counts}
    return _Mask(kind, encoders[kind](pixels), coverage, threshold)


def _counts(pixels: Pixels) -> orjson.Fragment:
    """Write the runs of a mask as JSON already: those of a large one take their time."""
    return orjson.Fragment(orjson.dumps(runs(pixels), option=orjson.OPT_SERIALIZE_NUMPY))


def _describe(mask: _Mask, _: Size, __: Call) -> Mapping[str, Any] | Result:
    coverage = round(mask.coverage, 6)
    if mask.format == "rle":
        return {
            "counts": mask.content,
            "order": ORDER,
            "threshold": mask.threshold,
            "coverage": coverage,
            "format": mask.format,
        }
    meta = {"coverage": str(coverage), "format": mask.format}
    return Result(mask.content, FORMATS[mask.format], "", meta)


_FIELDS = (
    FieldInfo("counts", "runs", "lengths of runs, background and person in turns"),
    FieldInfo("order", "name"),
    FieldInfo("threshold", "number"),
    FieldInfo("coverage", "number", "share of the picture that is of people"),
    FieldInfo("format", "name"),
)

SELFIE_SEGMENTATION = frame_task(
    "selfie_segmentation",
    "who is in front of the camera: a mask of the picture's size",
    follow=_follow,
    describe=_describe,
    fields=_FIELDS,
    options=(SEGMENTER, FORMAT, THRESHOLD, ACCEPT),
    outputs=tuple(FORMATS.values()),
)
