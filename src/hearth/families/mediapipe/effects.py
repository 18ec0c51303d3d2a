"""Another background behind people: blurred, replaced, or none.

All of it counts with the colours as they are stored (sRGB's), in floats, some rows at a time.
"""

import math

import numpy as np
from numpy.typing import NDArray

from hearth.media.mask import SoftMask, stretched
from hearth.media.raw import Pixels
from hearth.media.strips import strips

Floats = NDArray[np.float32]
Color = tuple[int, int, int]
"""Red, green, blue; 0 to 255."""

_INNER_SIGMA = 3
"""Sigma of a Gaussian on a reduced picture, in its pixels: the result differs from the full one's
by 4 of 255 steps at most then (PSNR 60 dB), and with 2, as from ``_HALVED`` on, by little more."""

_HALVED = 4
"""Sigma in pixels from which on a picture is at least halved."""

_NOTHING = 1e-20
"""Number that stands for a weight of 0 where it is divided by; real ones are no smaller than
1e-12."""


def blurred(pixels: Pixels, mask: SoftMask, sigma: float) -> Pixels:
    """Blur all but what is in front by a Gaussian of ``sigma`` > 0 pixels.

    At most as many as the picture's shorter side: of a mere line of pixels a wide Gaussian
    would take gigabytes, or minutes, and show nothing more.
    The blur is a mean with weights of 1 - mask, and nothing beyond the picture has any: so
    what is in front leaves no halo in the background.
    """
    import cv2

    sigma = min(sigma, mask.width, mask.height)
    behind, reduction = _blurred_behind(pixels, mask, sigma)
    size = (behind.shape[1] * reduction, behind.shape[0] * reduction)
    result = np.empty_like(pixels)
    for top, bottom in strips(mask.width, mask.height):
        back = stretched(behind, size, top, bottom)[:, : mask.width]
        mixed = _mixed(pixels[top:bottom].astype(np.float32), back, mask.rows(top, bottom))
        result[top:bottom] = cv2.convertScaleAbs(mixed)
    return result


def replaced(pixels: Pixels, mask: SoftMask, background: Pixels | Color) -> Pixels:
    """Put what is in front before a colour or another picture of the same shape."""
    result = np.empty_like(pixels)
    plain: Pixels | None = None
    for top, bottom in strips(mask.width, mask.height):
        front = pixels[top:bottom]
        if not isinstance(background, tuple):
            back = background[top:bottom]
        else:
            plain = np.full_like(front, background) if plain is None else plain
            back = plain[: bottom - top]  # the first strip is the highest
        result[top:bottom] = _mixed(front, back, mask.rows(top, bottom))
    return result


def cut_out(pixels: Pixels, mask: SoftMask) -> Pixels:
    """Cut out what is in front, as RGBA uint8 (height, width, 4): the mask as alpha; not
    premultiplied.

    Where alpha is 0 so are the colours: nobody finds the room again in the file.
    """
    import cv2

    alpha, _ = mask.eight_bit()
    visible = cv2.bitwise_and(pixels, pixels, mask=alpha)
    result: Pixels = cv2.cvtColor(visible, cv2.COLOR_RGB2RGBA)
    cv2.insertChannel(alpha, result, 3)
    return result


def _mixed(
    front: NDArray[np.generic], back: NDArray[np.generic], mask: Floats
) -> NDArray[np.generic]:
    """Compute front · mask + back · (1 - mask), of the same type as they."""
    import cv2

    # Divides by the sum of the weights and 1e-5: a 400th of one of 255 steps.
    mixed: NDArray[np.generic] = cv2.blendLinear(
        np.ascontiguousarray(front), np.ascontiguousarray(back), mask, 1 - mask
    )
    return mixed


def _blurred_behind(pixels: Pixels, mask: SoftMask, sigma: float) -> tuple[Floats, int]:
    """Blur the background, float32 (h, w, 3), each side smaller by the whole number that comes too.

    A wide Gaussian costs next to nothing on a reduced picture. Reducing takes the mean of
    squares, and enlarging again draws straight lines between them: both blur by themselves,
    with variances of r²/12 and r²/6 for a reduction r, which the Gaussian leaves out.
    """
    import cv2

    reduction = max(math.floor(sigma / _INNER_SIGMA), 2 if sigma >= _HALVED else 1)
    inner = math.sqrt((sigma / reduction) ** 2 - (0.25 if reduction > 1 else 0))
    weighted, weights = _reduced(pixels, mask, reduction)
    for sums in (weighted, weights):
        cv2.GaussianBlur(sums, (0, 0), inner, dst=sums, borderType=cv2.BORDER_CONSTANT)
    weighted /= np.maximum(weights, _NOTHING)[..., None]
    return weighted, reduction


def _reduced(pixels: Pixels, mask: SoftMask, reduction: int) -> tuple[Floats, Floats]:
    """Compute means over squares of ``reduction`` pixels of the background's colours and
    weights.
    """
    import cv2

    across, down = -(-mask.width // reduction), -(-mask.height // reduction)
    weighted = np.empty((down, across, 3), np.float32)
    weights = np.empty((down, across), np.float32)
    for top, bottom in strips(mask.width, mask.height, reduction):
        weight = 1 - mask.rows(top, bottom)
        first, last = top // reduction, -(-bottom // reduction)
        missing = (last * reduction - bottom, across * reduction - mask.width)
        for values, target in (
            (pixels[top:bottom] * weight[..., None], weighted),
            (weight, weights),
        ):
            even = cv2.copyMakeBorder(values, 0, missing[0], 0, missing[1], cv2.BORDER_CONSTANT)
            target[first:last] = cv2.resize(
                even, (across, last - first), interpolation=cv2.INTER_AREA
            )
    return weighted, weights
