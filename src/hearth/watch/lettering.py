"""Text as pixels: OpenCV's own letters know no ä and no 字."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

FONTS = (
    "NotoSansCJK-Regular.ttc",
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "Arial Unicode.ttf",
    "Helvetica.ttc",
)
"""Fonts of the system that are looked for, those with the most letters first. Pillow's own has
ASCII alone."""

KEPT = 256
"""Texts whose pixels are kept: most come again with the next frame."""

LONGEST = 120
"""Characters of a text that are drawn."""


@lru_cache(maxsize=KEPT)
def letters(text: str, size: int) -> NDArray[np.uint8]:
    """Render a text: how much of each pixel it covers, 0 to 255 (height, width).

    The height is that of a line of this font, whatever the text; ``size`` is in pixels.
    """
    text = " ".join(text.split())
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - 1]}…"
    font = _font(size)
    ascent, descent = _line(font)
    left, _, right, _ = font.getbbox(text)
    image = Image.new("L", (max(1, round(right - left)), ascent + descent))
    ImageDraw.Draw(image).text((-left, ascent), text, fill=255, font=font, anchor="ls")
    return np.asarray(image)


def _line(font: "ImageFont.FreeTypeFont | ImageFont.ImageFont") -> tuple[int, int]:
    """Return the pixels above and below the line that letters stand on."""
    if isinstance(font, ImageFont.FreeTypeFont):
        return font.getmetrics()
    return 11, 3  # Pillow without FreeType has letters of one size


@lru_cache(maxsize=16)
def _font(size: int) -> "ImageFont.FreeTypeFont | ImageFont.ImageFont":
    for name in FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)
