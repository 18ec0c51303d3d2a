"""The task ``selfie_segmentation``."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from hearth.media import encode
from hearth.media.mask import IN_FRONT, SoftMask, runs
from hearth.models.mediapipe.frame import Frame
from hearth.models.mediapipe.model import MediaPipeModel
from hearth.models.mediapipe.streams import Turn
from hearth.tasks.mediapipe.formats import ACCEPT, chosen, format_option
from hearth.tasks.mediapipe.frames import Seen, frame_task
from hearth.tasks.options import Option
from hearth.tasks.task import JSON, RAW, Call, Result

FORMATS = {"png": "image/png", "raw": RAW, "rle": JSON}

ORDER = "row-major, starting with background"

MODEL = Option(
    "model",
    "choice",
    "general",
    "general: 256×256 pixels; landscape: 256×144, in half the time",
    choices=("general", "landscape"),
)
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
    """Bytes, or the counts of runs."""
    coverage: float
    threshold: float | None


async def _find(model: MediaPipeModel, frame: Frame, _: Turn[None] | None, call: Call) -> _Mask:
    kind = chosen(call, FORMATS, "png")
    threshold = call.options[THRESHOLD.name]
    if kind == "rle" and threshold is None:
        threshold = IN_FRONT
    mask = await model.selfie.find(frame, model=call.options[MODEL.name], ticket=call.ticket)
    return await model.making.made(lambda _: _encoded(mask, kind, threshold), call.ticket)


def _encoded(mask: SoftMask, kind: str, threshold: float | None) -> _Mask:
    pixels, coverage = mask.eight_bit(threshold)
    encoders = {"png": encode.png, "raw": lambda pixels: pixels.tobytes(), "rle": runs}
    return _Mask(kind, encoders[kind](pixels), coverage, threshold)


def _describe(mask: _Mask, _: Seen, __: Call) -> Mapping[str, Any] | Result:
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


SELFIE_SEGMENTATION = frame_task(
    "selfie_segmentation",
    "who is in front of the camera: a mask of the picture's size",
    find=_find,
    describe=_describe,
    track=None,
    options=(MODEL, FORMAT, THRESHOLD, ACCEPT),
    outputs=tuple(FORMATS.values()),
)
