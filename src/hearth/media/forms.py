"""Forms of pixels: what becomes of transparency and colour profiles, as each task needs it."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from PIL import Image

from hearth.media.colours import Colours, to_srgb
from hearth.media.raw import Pixels
from hearth.media.strips import strips

_BACKGROUNDS = (255, 0, 128)
"""Lightness of what is laid under a transparent picture, the likelier first: print is dark."""

_CONTRAST = 96
"""Levels by which text should differ from the background."""


class PixelForm(Enum):
    """Treatment of transparency and colour profile; pictures with neither look alike in all."""

    STORED = "stored"
    """Colours as the file holds them, also under transparent pixels: as open_clip reads files."""
    READABLE = "readable"
    """Transparent pictures on a background that their text stands out from."""
    SRGB = "srgb"
    """Colours converted to sRGB, for whoever gives them back in a file without a profile."""


@dataclass(frozen=True)
class Decoded:
    """A decoded picture, upright: all that its pixels in any form are made from."""

    rgb: Pixels
    """uint8 (height, width, 3)."""
    alpha: Pixels | None = None
    """uint8 (height, width), 255 where the picture hides everything; None: it does everywhere."""
    colours: Colours | None = None
    """Colour space of its numbers; None: sRGB."""

    def pixels(self, form: PixelForm) -> Pixels:
        """Return RGB uint8 (height, width, 3): ``rgb`` itself where the form changes nothing."""
        if form is PixelForm.READABLE and self.alpha is not None:
            return _on_background(self.rgb, self.alpha)
        if form is PixelForm.SRGB and self.colours is not None:
            return to_srgb(self.rgb, self.colours)
        return self.rgb


def alpha_of(image: Image.Image) -> Image.Image | None:
    """Take the transparency of an image of any mode, as mode L; None where it has none."""
    if not image.has_transparency_data:
        return None
    if image.mode not in ("RGBA", "LA", "PA"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    alpha = image.getchannel("A")
    lowest, _ = alpha.getextrema()
    return None if lowest == 255 else alpha


def _on_background(rgb: Pixels, alpha: Pixels) -> Pixels:
    background = _background(rgb, alpha)
    laid = np.empty_like(rgb)
    for top, bottom in strips(*alpha.shape[::-1]):
        rows = slice(top, bottom)
        share = alpha[rows, :, None].astype(np.uint16)
        mixed = rgb[rows] * share
        mixed += (255 - share) * background + 128
        laid[rows] = (mixed + (mixed >> 8)) >> 8  # a division by 255, rounded: exact below 2¹⁶
    return laid


def _background(rgb: Pixels, alpha: Pixels) -> int:
    """Choose the lightness that the fewest of the visible pixels are close to.

    rapidocr goes by their mean, which hides what is darker in a picture that is mostly light.
    """
    weights = np.zeros(256)
    for top, bottom in strips(*alpha.shape[::-1]):
        rows = slice(top, bottom)
        # ITU-R BT.601
        light = rgb[rows] @ np.array((0.299, 0.587, 0.114), np.float32)
        weights += np.bincount(np.rint(light).astype(np.uint8).ravel(), alpha[rows].ravel(), 256)
    levels = np.arange(256)

    def hidden(background: int) -> float:
        return float(weights @ np.maximum(0, 1 - np.abs(levels - background) / _CONTRAST))

    return min(_BACKGROUNDS, key=hidden)
