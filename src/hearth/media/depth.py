"""Images with more than eight bits a pixel's channel, scaled to eight.

Pillow's own conversion clips them: all but the darkest 1/256 of a 16-bit scan
comes out white.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin

_WHITE_IS_ZERO = 0
"""TIFF 6.0, tag 262 (PhotometricInterpretation)."""

_STRIP_PIXELS = 1 << 20


def is_deep(image: Image.Image) -> bool:
    """Whether the image is grey with 16 or 32 bits, integer or floating point."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def to_eight_bit(image: Image.Image) -> Image.Image:
    """A deep image in mode L: 0 stays black, the top of its scale becomes 255.

    The scale of 16-bit files ends at 65535, of TIFF files with fewer bits where
    their bits end. 32-bit integers and floats don't say: theirs ends at the first
    of 1 (floats only), 255, 65535 that no pixel passes, else at the brightest pixel.
    """
    top = _top(image)
    white_is_zero = _tag(image, ExifTags.Base.PhotometricInterpretation) == _WHITE_IS_ZERO
    result = np.empty((image.height, image.width), np.uint8)
    for rows, values in _strips(image):
        scaled = np.multiply(values, 255 / top, dtype=np.float32)
        if white_is_zero:
            scaled = 255 - scaled
        result[rows] = np.clip(np.rint(scaled), 0, 255)
    return Image.fromarray(result)


def _top(image: Image.Image) -> float:
    """The number that shows as white."""
    if image.mode.startswith("I;16"):
        return float(2 ** _bits(image) - 1)
    peak = max(float(values.max(initial=0)) for _, values in _strips(image))
    scales = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    return next((scale for scale in scales if peak <= scale), peak)


def _strips(image: Image.Image) -> Iterator[tuple[slice, NDArray[Any]]]:
    """The pixels, some rows at a time: a scan in floats would be four times its own size."""
    height = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, height):
        bottom = min(top + height, image.height)
        values = np.asarray(image.crop((0, top, image.width, bottom)))
        if not image.mode.startswith("I;16"):
            values = np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0)
        yield slice(top, bottom), values


def _bits(image: Image.Image) -> int:
    bits = _tag(image, ExifTags.Base.BitsPerSample)
    if isinstance(bits, tuple) and bits:
        bits = bits[0]
    return bits if isinstance(bits, int) and 8 < bits <= 16 else 16


def _tag(image: Image.Image, number: int) -> object:
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return None
    value: object = image.tag_v2.get(number)
    return value
