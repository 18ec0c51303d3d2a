"""Samples with more than eight bits, scaled to eight; those of up to 16 end where their bits do.

Pillow's own conversion clips them: all but the darkest 1/256 of a 16-bit scan
comes out white.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hearth.media.raw import Pixels
from hearth.media.strips import strips

Samples = NDArray[Any]

_BRIGHTEST = 0.01
"""Share of float samples that may pass their scale: lights that shine more than
white paper, and come out white."""


def is_deep(image: Image.Image) -> bool:
    """Tell whether the image is grey with 16 or 32 bits, integer or floating point."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def to_eight_bit(image: Image.Image) -> Image.Image:
    """Convert a deep image in mode L: 0 stays black, the top of its scale becomes 255.

    The scale of 16-bit files ends at 65535, of others where ``scale_of`` finds it.
    """
    top = 65535.0
    if not image.mode.startswith("I;16"):
        top = scale_of((values for _, values in _parts(image)), is_float=image.mode == "F")
    result = np.empty((image.height, image.width), np.uint8)
    for rows, values in _parts(image):
        result[rows] = to_bytes(values, top)
    return Image.fromarray(result)


def to_bytes(values: Samples, top: float) -> Pixels:
    """Convert samples to uint8 of the same shape: 0 and less become 0, ``top`` and more 255.

    What is no number becomes 0.
    """
    if values.dtype.kind == "u" and values.dtype.itemsize == 2 and top == 65535:
        # The same in whole numbers: exact for all 65536, and faster.
        return ((values.astype(np.uint32) * 255 + 32895) >> 16).astype(np.uint8)
    with np.errstate(over="ignore", invalid="ignore"):  # floats may be what they like
        scaled = np.multiply(values, 255 / top, dtype=np.float32)
    if values.dtype.kind == "f":
        np.nan_to_num(scaled, copy=False, nan=0, posinf=255, neginf=0)
    np.rint(scaled, out=scaled)
    return np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)


def scale_of(parts: Iterable[Samples], *, is_float: bool) -> float:
    """Find the number that shows as white, of samples that come in parts and don't say it.

    The first of 1 (floats only), 255, 65535 that none of the samples passes, else the largest of
    them. Of floats one in a hundred may pass it.
    """
    scales = (1.0, 255.0, 65535.0) if is_float else (255.0, 65535.0)
    beyond, count, peak = np.zeros(len(scales), np.int64), 0, 0.0
    for values in parts:
        finite = values[np.isfinite(values)].astype(np.float64) if is_float else values
        peak = max(peak, float(finite.max(initial=0)))
        count += finite.size
        beyond += [np.count_nonzero(finite > scale) for scale in scales]
    spared = _BRIGHTEST * count if is_float else 0
    return next((scale for scale, more in zip(scales, beyond, strict=True) if more <= spared), peak)


def _parts(image: Image.Image) -> Iterator[tuple[slice, Samples]]:
    """Yield the pixels in strips: a scan in floats would be four times its own size."""
    for top, bottom in strips(*image.size):
        yield slice(top, bottom), np.asarray(image.crop((0, top, image.width, bottom)))
