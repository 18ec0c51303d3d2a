"""The task ``segmentation_effect``."""

import base64
import binascii
import re
from collections.abc import Callable
from typing import NamedTuple

from PIL import Image

from hearth.catalog import JSON
from hearth.errors import InvalidInput
from hearth.families.mediapipe import effects
from hearth.families.mediapipe.backdrops import Backdrops
from hearth.families.mediapipe.frame import Frame
from hearth.families.mediapipe.model import MediaPipeModel
from hearth.families.mediapipe.tasks.accept import ACCEPT, chosen, format_option
from hearth.families.mediapipe.tasks.frames import Past, frame_task
from hearth.families.mediapipe.tasks.options import SEGMENTER
from hearth.families.mediapipe.tasks.shapes import Size
from hearth.media import ImageReader, PixelForm, encode
from hearth.media.mask import SoftMask
from hearth.media.raw import Pixels
from hearth.tasks.answer import Result
from hearth.tasks.options import Option
from hearth.tasks.task import Call

FORMATS = {"jpeg": "image/jpeg", "png": "image/png"}

EFFECT = Option(
    "effect",
    "choice",
    "blur",
    "blur the background, replace it, or cutout: leave it out (a PNG with transparency)",
    choices=("blur", "replace", "cutout"),
)
STRENGTH = Option(
    "strength",
    "float",
    0.02,
    "of blur: the Gaussian's standard deviation, as a share of the picture's longer side",
    least=0.002,
    most=0.2,
)
COLOR = Option("color", "text", "", "replace the background by this: #rrggbb (default: #00ff00)")
BACKGROUND = Option(
    "background",
    "text",
    "",
    "replace the background by this: an image file in base64, scaled and cropped to the picture; "
    "a message has room for one of some 190,000 bytes",
)
FORMAT = format_option(
    FORMATS, "jpeg or png; without it, as accept says, or jpeg (cutout: always png)"
)
QUALITY = Option("quality", "int", encode.QUALITY, "of a JPEG", least=1, most=100)

GREEN = (0, 255, 0)


class _Picture(NamedTuple):
    format: str
    body: bytes


Draw = Callable[[Pixels, SoftMask, ImageReader], Pixels]


async def _follow(
    model: MediaPipeModel, frame: Frame, _: Past, call: Call
) -> tuple[_Picture, None]:
    draw = _drawing(call, model.backdrops)
    kind = _format(call)
    mask = await model.selfie.find(frame, model=call.options[SEGMENTER.name], context=call.context)
    quality = call.options[QUALITY.name]

    def made(reader: ImageReader) -> _Picture:
        pixels = draw(frame.pixels, mask, reader)
        return _Picture(kind, encode.png(pixels) if kind == "png" else encode.jpeg(pixels, quality))

    return await model.making.made(made, call.context), None


def _format(call: Call) -> str:
    if call.options[EFFECT.name] != "cutout":
        return chosen(call, FORMATS, "jpeg")
    if call.options[FORMAT.name] == "jpeg":
        raise InvalidInput("format = jpeg has no transparency: cutout needs png")
    return "png"


def _drawing(call: Call, backdrops: Backdrops) -> Draw:
    """Choose how a request's picture is drawn; raises InvalidInput."""
    options = call.options
    color, text = options[COLOR.name], options[BACKGROUND.name]
    match options[EFFECT.name]:
        case "cutout":
            return lambda pixels, mask, _: effects.cut_out(pixels, mask)
        case "blur":
            share = options[STRENGTH.name]
            return lambda pixels, mask, _: effects.blurred(
                pixels, mask, share * max(mask.width, mask.height)
            )
    if not text:
        plain = _rgb(color) if color else GREEN
        return lambda pixels, mask, _: effects.replaced(pixels, mask, plain)
    if color:
        raise InvalidInput(f"{COLOR.name} and {BACKGROUND.name}: choose one of them")

    def replaced(pixels: Pixels, mask: SoftMask, reader: ImageReader) -> Pixels:
        size = (mask.width, mask.height)
        backdrop = backdrops.fitted(text, lambda: _image_of(text, max(size), reader), *size)
        return effects.replaced(pixels, mask, backdrop)

    return replaced


def _rgb(text: str) -> effects.Color:
    if not re.fullmatch(r"#?[0-9a-fA-F]{6}", text):
        raise InvalidInput(f"{COLOR.name} = {text[:40]!r}: write it as #rrggbb")
    red, green, blue = bytes.fromhex(text.lstrip("#"))
    return red, green, blue


def _image_of(text: str, longest: int, reader: ImageReader) -> Image.Image:
    """Read an image in base64, to be fitted to a picture; raises InvalidInput."""
    # Comes as a data URL, maybe.
    code = text.partition(",")[2] if text.startswith("data:") else text
    try:
        file = base64.b64decode("".join(code.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput(f"{BACKGROUND.name}: the image is no base64") from None
    try:
        # Its shorter side, scaled, is never longer than the picture's longer one.
        return reader.read(file, at_least=longest, form=PixelForm.SRGB)
    except InvalidInput as error:
        raise InvalidInput(f"{BACKGROUND.name}: {error}") from None


def _describe(picture: _Picture, _: Size, __: Call) -> Result:
    return Result(picture.body, FORMATS[picture.format], "", {"format": picture.format})


SEGMENTATION_EFFECT = frame_task(
    "segmentation_effect",
    "the picture with its background blurred, replaced or left out",
    follow=_follow,
    describe=_describe,
    options=(EFFECT, STRENGTH, COLOR, BACKGROUND, FORMAT, QUALITY, SEGMENTER, ACCEPT),
    # The answer has no profile.
    form=PixelForm.SRGB,
    # JSON for the frames of a video that were dropped.
    outputs=(*FORMATS.values(), JSON),
)
