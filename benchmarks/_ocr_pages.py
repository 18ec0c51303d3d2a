"""Pages with known lines for ``ocr.py``: from 1:1 to 1:40, with print of 9 to 600 pixels."""

import random
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FONTS = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "DejaVuSans-Bold", "")
"""Fonts that Pillow finds by their names; the last, and what isn't installed, is Pillow's own."""

_WORDS = (
    "account", "amount", "agree", "apple", "autumn", "balance", "banner", "before", "bottle",
    "bridge", "button", "camera", "candle", "carbon", "castle", "change", "circle", "coffee",
    "common", "copper", "cotton", "county", "course", "credit", "dealer", "delivery", "design",
    "dinner", "double", "driver", "during", "editor", "effect", "energy", "engine", "family",
    "father", "figure", "filter", "finger", "flight", "forest", "friend", "future", "garden",
    "ground", "growth", "handle", "harbor", "health", "height", "island", "jacket", "kitchen",
    "ladder", "letter", "listen", "little", "market", "matter", "member", "memory", "middle",
    "minute", "mirror", "modern", "mother", "museum", "nature", "number", "object", "office",
    "orange", "output", "packet", "parcel", "people", "pepper", "permit", "person", "planet",
    "pocket", "police", "powder", "profit", "public", "purple", "quarter", "random", "reason",
    "record", "region", "remote", "repair", "report", "result", "return", "ribbon", "safety",
    "sample", "school", "screen", "second", "secret", "shadow", "signal", "silver", "simple",
    "single", "sister", "smooth", "spring", "square", "status", "street", "string", "studio",
    "summer", "supply", "system", "tablet", "talent", "target", "ticket", "tomato", "travel",
    "tunnel", "update", "valley", "vendor", "village", "vision", "volume", "wallet", "winter",
    "window", "wonder", "yellow",
)  # fmt: skip


class Case(NamedTuple):
    """Make a page as a file, and what stands on it."""

    name: str
    file: bytes
    """PNG or JPEG."""
    lines: tuple[str, ...]
    """In reading order."""
    dense: bool = False
    """Whether it counts among the dense pages, whose speed is measured."""

    @property
    def kind(self) -> str:
        """The ending of the file: png or jpg."""
        return "png" if self.file.startswith(b"\x89PNG") else "jpg"


def words(rng: random.Random, width: int) -> str:
    """Make a line of at most ``width`` characters: words, with an amount or a number among them."""
    chosen: list[str] = []
    while True:
        kind = rng.random()
        if kind < 0.1:
            word = f"{rng.randrange(1, 1000)}.{rng.randrange(100):02d}"
        elif kind < 0.17:
            word = str(rng.randrange(10, 100_000))
        else:
            word = rng.choice(_WORDS)
            word = word.capitalize() if not chosen or kind > 0.85 else word
        if len(" ".join([*chosen, word])) > width:
            return " ".join(chosen) or word[:width]
        chosen.append(word)


def font(name: str, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Load a font of ``size`` pixels; Pillow's own where it isn't installed."""
    try:
        return ImageFont.truetype(f"{name}.ttf", size)
    except OSError:
        return ImageFont.load_default(size)


class Sheet:
    """Make a page that is being written, line by line from the top."""

    def __init__(self, width: int, height: int, ground: str = "white", margin: int = 20) -> None:
        self.image = Image.new("RGB", (width, height), ground)
        self._pen = ImageDraw.Draw(self.image)
        self._margin = margin
        self.at = margin
        self.lines: list[str] = []

    def write(self, line: str, name: str, size: int, colour: str = "black", step: float = 1.6,
              *, cut: bool = True) -> None:  # fmt: skip
        """Write a line; what doesn't fit across is left out, word by word."""
        face = font(name, size)
        while cut and " " in line and face.getlength(line) > self.image.width - 2 * self._margin:
            line = line.rpartition(" ")[0]
        self._pen.text((self._margin, self.at), line, colour, font=face)
        self.at += round(size * step)
        self.lines.append(line)

    def fill(self, rng: random.Random, name: str, size: int, count: int, width: int = 90,
             **style: object) -> None:  # fmt: skip
        """Write ``count`` lines of words, of which most reach far across."""
        for _ in range(count):
            length = width if rng.random() < 0.7 else rng.randrange(width // 4, width)
            self.write(words(rng, length), name, size, **style)  # type: ignore[arg-type]


def _png(image: Image.Image) -> bytes:
    return _saved(image, "PNG", compress_level=3)


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _dense(rng: random.Random, number: int) -> tuple[Sheet, bytes]:
    """Make a page of some 60 lines, at 150 or 300 dpi."""
    scale = 1 + number % 2
    sheet = Sheet(1240 * scale, 1754 * scale, margin=70 * scale)
    size = (18, 20, 16)[number % 3] * scale
    step = (1754 - 140) * scale / (60 * size)
    sheet.fill(rng, FONTS[number % len(FONTS)], size, 61 + number % 2, 110, step=min(step, 1.6))
    return sheet, _png(sheet.image)


def _receipt(rng: random.Random, width: int, size: int, count: int, face: str) -> Sheet:
    step = 2.4
    sheet = Sheet(width, round(count * round(size * step)) + 120)
    for number in range(count):
        item = f"{rng.choice(_WORDS)} {rng.choice(_WORDS)}"
        price = f"{rng.randrange(1, 100)}.{rng.randrange(100):02d}"
        sheet.write(f"{number + 1} {item} {price}", face, size, step=step)
    return sheet


def _photograph(rng: random.Random) -> tuple[Sheet, bytes]:
    """Make a page held before a 12-megapixel camera: uneven light, noise, a soft lens, JPEG."""
    sheet = Sheet(3000, 4000, "#f0ead8", margin=260)
    for size in (120, 64, 48, 40, 36, 33):
        sheet.fill(rng, FONTS[size % 4], size, 6, 60, colour="#222222")
    noise = np.random.default_rng(rng.randrange(1 << 30))
    pixels = np.asarray(sheet.image).astype(np.float32)
    light = np.linspace(0.55, 1.05, 3000, dtype=np.float32)[None, :, None]
    light = light * np.linspace(1.0, 0.85, 4000, dtype=np.float32)[:, None, None]
    pixels = pixels * light + noise.normal(0, 7, pixels.shape[:2])[..., None]
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    soft = image.resize((2400, 3200), Image.Resampling.BICUBIC)
    image = soft.resize((3000, 4000), Image.Resampling.BICUBIC)
    return sheet, _saved(image.rotate(0.6, Image.Resampling.BICUBIC, fillcolor="#807860"), "JPEG",
                         quality=88)  # fmt: skip


def _strip(rng: random.Random, long: int, short: int, size: int) -> Sheet:
    sheet = Sheet(short, long)
    while sheet.at < long - 3 * size:
        sheet.write(words(rng, 60), FONTS[0], size, step=2.2)
    return sheet


def _banner(rng: random.Random) -> Sheet:
    """Short lines side by side, 40 times as wide as high."""
    sheet = Sheet(9600, 240)
    pen = ImageDraw.Draw(sheet.image)
    for left in range(40, 9000, 800):
        for top in (40, 130):
            line = words(rng, 24)
            pen.text((left, top), line, "black", font=font(FONTS[1], 34))
            sheet.lines.append(line)
    return sheet


def _screenshot(rng: random.Random) -> Sheet:
    sheet = Sheet(640, 11600, "#fafafa", margin=24)
    while sheet.at < 11500:
        size = rng.choice((15, 17, 17, 19, 26))
        face = FONTS[3] if size == 26 else FONTS[rng.choice((0, 4))]
        sheet.write(words(rng, 60), face, size, rng.choice(("#222222", "#555555", "#1a4fa0")), 2.0)
    return sheet


def _heading(rng: random.Random) -> Sheet:
    """Print of 9 to 220 pixels on one page."""
    sheet = Sheet(1600, 2400, margin=60)
    sheet.write("Autumn", FONTS[3], 220, step=1.4)
    sheet.write("Report of the year", FONTS[1], 90, step=1.6)
    for size, count in ((44, 5), (26, 10), (16, 14), (12, 12), (10, 10), (9, 10)):
        sheet.fill(rng, FONTS[size % 2], size, count, 80, step=1.7)
    return sheet


def _poster(word: str, width: int, height: int, size: int) -> Sheet:
    sheet = Sheet(width, height, "#ffe060", margin=60)
    sheet.write(word, FONTS[3], size, "#102060", cut=False)
    return sheet


def _small_print(rng: random.Random, width: int, height: int, size: int) -> Sheet:
    sheet = Sheet(width, height)
    while sheet.at < height - 2 * size:
        sheet.write(words(rng, 100), FONTS[0], size, step=1.7)
    return sheet


_SHEETS: Mapping[str, Callable[[random.Random], Sheet]] = {
    "receipt 1:20": lambda rng: _receipt(rng, 400, 24, 120, FONTS[0]),
    "receipt, typewriter": lambda rng: _receipt(rng, 600, 27, 90, FONTS[2]),
    "screenshot 640 x 11600": _screenshot,
    "strip 1:40": lambda rng: _strip(rng, 12000, 300, 22),
    "banner 40:1": _banner,
    "sizes from 9 to 220": _heading,
    "letters of 600": lambda _: _poster("SALE", 1900, 900, 600),
    "letters of 300": lambda _: _poster("Open", 900, 500, 300),
    "print of 9, a note": lambda rng: _small_print(rng, 400, 400, 9),
    "print of 10, a page": lambda rng: _small_print(rng, 1240, 900, 10),
    "print of 13, two thousand wide": lambda rng: _small_print(rng, 2400, 1000, 13),
}


_LONG = ("receipt 1:20", "screenshot 640 x 11600", "strip 1:40", "print of 13, two thousand wide")


def cases(*, quick: bool = False, dense: int = 4) -> Iterator[Case]:
    """Yield the pages, the same in every run; ``quick``: without the longest."""
    for number in range(dense):
        sheet, file = _dense(random.Random(100 + number), number)
        yield Case(f"dense {number + 1}", file, tuple(sheet.lines), dense=True)
    for number, (name, draw) in enumerate(_SHEETS.items()):
        if not (quick and name in _LONG):
            sheet = draw(random.Random(number))
            yield Case(name, _png(sheet.image), tuple(sheet.lines))
    if not quick:
        sheet, file = _photograph(random.Random(7))
        yield Case("photograph of 12 MP", file, tuple(sheet.lines))
