"""Lines of text in many scripts, drawn: what the script classifier learns from and is measured on.

Words are names of languages, countries, currencies, months and units in CLDR's locales (the package
babel); fonts are those of the system that fontconfig lists for a script's letters. Every line
depends on its number alone. One family of fonts in four, and one word in four, are held out: lines
of the one half have none of the other's.
"""

import io
import random
import subprocess
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from babel import Locale, localedata
from fontTools.ttLib import TTCollection, TTFont
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

HEIGHT = 48
"""Pixels of height that recognition takes."""
LEAST, WIDEST = 320, 640
"""Pixels that a line is padded to at least, and cut at."""

SCRIPTS: Mapping[str, str] = {
    "Common": "0123456789",
    "Latin": "aegxßéł",
    "Han": "的国中書",
    "Kana": "あのカタ",
    "Hangul": "가나한글",
    "Cyrillic": "абжйЮ",
    "Greek": "αβώϊΩ",
    "Arabic": "ابتعه",
    "Hebrew": "אבגםש",
    "Thai": "กขคำที",
    "Devanagari": "कखगिन",
    "Bengali": "কখগি",
    "Gujarati": "કખગિ",
    "Gurmukhi": "ਕਖਗਿ",
    "Tamil": "கஙசி",
    "Telugu": "కఖగి",
    "Kannada": "ಕಖಗಿ",
    "Malayalam": "കഖഗി",
    "Sinhala": "කඛගි",
    "Georgian": "აბგდ",
    "Armenian": "աբգԱ",
    "Khmer": "កខគិ",
    "Lao": "ກຂຄິ",
    "Myanmar": "ကခဂိ",
    "Ethiopic": "ሀለሐመ",
}
"""The classes in their order, and letters that a font for them must have."""

NAMES = tuple(SCRIPTS)

_WEIGHTS: Mapping[str, float] = {
    "Common": 10, "Latin": 34, "Han": 9, "Kana": 5, "Hangul": 6, "Cyrillic": 9, "Greek": 6,
    "Arabic": 5, "Hebrew": 4, "Thai": 4, "Devanagari": 4,
}  # fmt: skip
"""How often a line is of a class; 1 where nothing is said."""

_PREFIXES: Mapping[str, str] = {
    "CJK": "Han", "HIRAGANA": "Kana", "KATAKANA": "Kana", "HALFWIDTH": "Kana", "HANGUL": "Hangul",
}  # fmt: skip


class Sample(NamedTuple):
    """One line."""

    pixels: NDArray[np.uint8]
    """Grey, (48, width)."""
    shares: NDArray[np.float32]
    """For each class, its share of the line's letters; all of it Common where there is none."""
    text: str
    kind: str
    """Kind of sample, for tables: a script, or a kind of Latin line."""
    font: str


def script_of(letter: str) -> str:
    """Tell the class of a character by its Unicode name: Common for all but letters and marks."""
    if unicodedata.category(letter)[0] not in "LM":
        return "Common"
    prefix = unicodedata.name(letter, "?").split()[0]
    name = _PREFIXES.get(prefix, prefix.capitalize())
    return name if name in SCRIPTS else "Common"


def shares_of(text: str) -> NDArray[np.float32]:
    """Tell how the letters of a text are shared among the classes; marks count for nothing."""
    counts = np.zeros(len(NAMES), np.float32)
    for letter in text:
        if unicodedata.category(letter)[0] == "L":
            counts[NAMES.index(script_of(letter))] += 1
    if not counts.sum():
        counts[0] = 1
    return counts / counts.sum()


def _held_out(name: str) -> bool:
    return zlib.crc32(name.encode()) % 4 == 0


@cache
def words(script: str, held_out: bool) -> tuple[str, ...]:
    """CLDR's words that are written in a script."""
    return tuple(word for word in _all_words().get(script, ()) if _held_out(word) == held_out)


@cache
def _all_words() -> dict[str, list[str]]:
    found: dict[str, set[str]] = {name: set() for name in NAMES}
    for name in localedata.locale_identifiers():
        locale = Locale.parse(name)
        if name.count("_") > 1 or (locale.territory and locale.script is None):
            continue
        tables: list[Mapping[Any, str]] = [locale.languages, locale.territories, locale.currencies]
        tables += [locale.months["format"]["wide"], locale.days["format"]["wide"]]
        for text in (value for table in tables for value in table.values()):
            for word in text.replace("(", " ").replace(")", " ").split():
                shares = shares_of(word)
                if len(word) > 1 and shares.max() == 1:
                    found[NAMES[int(shares.argmax())]].add(word)
    return {script: sorted(texts) for script, texts in found.items()}


@cache
def letters(script: str) -> tuple[str, ...]:
    """Letters of a script as often as CLDR's words have them."""
    texts = _all_words()[script]
    return tuple(letter for word in texts for letter in word if script_of(letter) == script)


_LISTED = "%{family[0]}|%{file}|%{index}\n"


@cache
def fonts(script: str, held_out: bool) -> tuple[str, ...]:
    """``PATH:INDEX`` of the fonts for a script, one family in four of them held out."""
    codes = " ".join(f"{ord(letter):x}" for letter in SCRIPTS[script])
    listed = subprocess.run(
        ["fc-list", f":charset={codes}:scalable=true", "--format", _LISTED],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    rows = sorted({tuple(row.split("|")) for row in listed if "emoji" not in row.lower()})
    families = sorted({family for family, *_ in rows})
    out = set(families[1::4]) if script not in ("Latin", "Common") else _latin_held_out(families)
    chosen = [row for row in rows if (row[0] in out) == held_out]
    usable = [f"{path}:{int(index) & 0xFFFF}" for _, path, index in chosen if _is_outline(path)]
    if not usable:  # a script of one family
        usable = [f"{path}:{int(index) & 0xFFFF}" for _, path, index in rows]
    return tuple(usable)


def _latin_held_out(families: Iterable[str]) -> set[str]:
    return {family for family in families if _held_out(family)}


def _is_outline(path: str) -> bool:
    return path.lower().endswith((".ttf", ".otf", ".ttc"))


@cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    path, index = name.rsplit(":", 1)
    return ImageFont.truetype(path, size, index=int(index))


# --- texts ----------------------------------------------------------------------------------


def _phrase(rng: random.Random, script: str, held_out: bool) -> str:
    texts = words(script, held_out)
    spaced = script not in ("Han", "Kana", "Thai", "Khmer", "Lao", "Myanmar")
    parts = []
    for _ in range(rng.choice((1, 1, 2, 2, 3, 4, 6))):
        if rng.random() < 0.25:
            pool = letters(script)
            parts.append("".join(rng.choice(pool) for _ in range(rng.randint(2, 9))))
        else:
            parts.append(rng.choice(texts))
    text = (" " if spaced or rng.random() < 0.15 else "").join(parts)
    if script == "Kana" and rng.random() < 0.5:
        text += rng.choice(words("Han", held_out))
    case = rng.random()
    if case < 0.2:
        text = text.upper()
    elif case < 0.45:
        text = text.lower()
    return text


def _number(rng: random.Random, _: bool) -> str:
    n = rng.random() * 10 ** rng.randint(0, 6)
    kinds: Sequence[Callable[[], str]] = (
        lambda: f"{n:.2f}",
        lambda: f"{rng.choice('€$£¥')} {n:,.2f}",
        lambda: f"{rng.randint(1, 31):02}.{rng.randint(1, 12):02}.{rng.randint(1950, 2050)}",
        lambda: f"{rng.randint(0, 23)}:{rng.randint(0, 59):02}",
        lambda: f"+{rng.randint(1, 99)} {rng.randint(100, 999)} {rng.randint(1000, 9_999_999)}",
        lambda: f"{rng.randint(0, 100)} %",
        lambda: "".join(rng.choice("0123456789-/.,:#*()+= ") for _ in range(rng.randint(1, 16))),
        lambda: str(rng.randint(0, 10**9)),
        lambda: rng.choice("-=_.*~|/·•") * rng.randint(3, 40),
    )
    return rng.choice(kinds)() or "0"


_UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LOWER = _UPPER.lower()
_DIGITS = "0123456789"
_UNITS = ("EUR", "kg", "cm", "€", "µm", "Ω", "°C")


def _random(rng: random.Random, alphabet: str, least: int, most: int) -> str:
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(least, most)))


def _code(rng: random.Random, held_out: bool) -> str:
    def word() -> str:
        return rng.choice(words("Latin", held_out))

    kinds: Sequence[Callable[[], str]] = (
        lambda: "-".join(_random(rng, _UPPER + _DIGITS, 2, 5) for _ in range(rng.randint(1, 4))),
        lambda: f"{_random(rng, _UPPER, 2, 2)}{_random(rng, _DIGITS, 2, 2)} "
        + " ".join(_random(rng, _DIGITS, 4, 4) for _ in range(rng.randint(3, 5))),
        lambda: f"{word()}{_random(rng, _DIGITS, 1, 3)} {_random(rng, _UPPER, 1, 4)}",
        lambda: f"{word().lower()}@{word().lower()}.{_random(rng, _LOWER, 2, 3)}",
        lambda: f"www.{word().lower()}.com/{_random(rng, _LOWER + _DIGITS, 3, 10)}",
        lambda: _random(rng, _UPPER + _LOWER + _DIGITS, 2, 20),
        lambda: _random(rng, _UPPER, 1, 5),
        lambda: f"{_random(rng, _UPPER, 1, 3)}-{rng.randint(1, 9999)}{_random(rng, _UPPER, 0, 2)}",
        lambda: f"{word()}: {rng.random() * 1000:.2f} {rng.choice(_UNITS)}",
        lambda: f"{rng.choice('ABCDabxy')} {rng.choice('=+<>≤')} {rng.choice('αβγΔλπΩμ')} "
        f"{rng.choice('+-·/')} {_random(rng, _LOWER + _DIGITS, 1, 6)}",
        lambda: " ".join(_random(rng, _UPPER, 1, 1) for _ in range(rng.randint(2, 8))),
        lambda: f"{_random(rng, _LOWER, 2, 7)}_{_random(rng, _LOWER, 2, 7)}"
        f"({_random(rng, _LOWER, 1, 4)});",
    )  # fmt: skip
    return rng.choice(kinds)()


def text_of(rng: random.Random, kind: str, held_out: bool) -> str:
    """Make a line of text of a class, or of the kind ``code``: Latin letters that are no words."""
    if kind == "Common":
        return _number(rng, held_out)
    if kind == "code":
        return _code(rng, held_out)
    text = _phrase(rng, kind, held_out)
    if rng.random() < 0.3:
        number = _number(rng, held_out)
        text = f"{text} {number}" if rng.random() < 0.7 else f"{number} {text}"
    elif rng.random() < 0.12:
        other = _phrase(rng, "Latin" if kind != "Latin" else "Han", held_out)
        text = f"{text} {other}"
    if rng.random() < 0.25:
        text += rng.choice(".,:;!?")
    return text[:64]


# --- pictures -------------------------------------------------------------------------------


def _drawn(text: str, font: str, size: int, rng: random.Random) -> NDArray[np.uint8] | None:
    face = _font(font, size)
    try:
        left, top, right, bottom = face.getbbox(text)
    except OSError:
        return None
    wide, high = int(right - left), int(bottom - top)
    if wide < 3 or high < 3 or wide > 60 * size:
        return None
    # As detection cuts: room around the ink, more or less of it.
    margin = [int(size * rng.uniform(0.05, 0.5)) for _ in range(4)]
    if high < 0.5 * size:  # a row of dots isn't blown up to the height of letters
        margin[1] += int(0.4 * size)
        margin[3] += int(0.3 * size)
    paper, ink = (rng.randint(190, 255), rng.randint(0, 110))
    if rng.random() < 0.2:
        paper, ink = ink, paper
    canvas = Image.new("L", (wide + margin[0] + margin[2], high + margin[1] + margin[3]), paper)
    ImageDraw.Draw(canvas).text((margin[0] - left, margin[1] - top), text, ink, font=face)
    return np.asarray(canvas)


def _spoiled(line: NDArray[np.uint8], rng: random.Random) -> NDArray[np.uint8]:
    """Slanted, blurred, uneven, noisy, as JPEG: each of it sometimes."""
    high, wide = line.shape
    noise = np.random.default_rng(rng.getrandbits(32))
    if rng.random() < 0.3:
        slant = rng.uniform(-0.04, 0.04) * wide
        source = np.array([[0, 0], [wide, 0], [0, high]], np.float32)
        lean = rng.uniform(-0.15, 0.15) * high
        target = source + np.array(
            [[0, 0], [0, slant * min(1, 3 * high / wide)], [lean, 0]], np.float32
        )
        matrix = cv2.getAffineTransform(source, target)
        line = cv2.warpAffine(line, matrix, (wide, high), borderMode=cv2.BORDER_REPLICATE)
    if rng.random() < 0.35:
        image = Image.fromarray(line).filter(ImageFilter.GaussianBlur(rng.uniform(0.3, high / 28)))
        line = np.asarray(image)
    if rng.random() < 0.25:
        shade = np.linspace(rng.uniform(0.6, 1), rng.uniform(0.6, 1), wide)
        line = (line * shade).astype(np.uint8)
    if rng.random() < 0.35:
        spread = rng.uniform(1, 18)
        line = np.clip(line + noise.normal(0, spread, line.shape), 0, 255).astype(np.uint8)
    if rng.random() < 0.35:
        buffer = io.BytesIO()
        Image.fromarray(line).save(buffer, "JPEG", quality=rng.randint(20, 90))
        line = np.asarray(Image.open(buffer))
    return line


def _scribble(rng: random.Random) -> NDArray[np.uint8]:
    """Draw what is no text: strokes, boxes, bars, noise."""
    noise = np.random.default_rng(rng.getrandbits(32))
    wide = rng.randint(24, 500)
    canvas = np.full((HEIGHT, wide), rng.randint(0, 255), np.uint8)
    if rng.random() < 0.3:
        small = noise.integers(0, 255, (rng.randint(2, 24), max(2, wide // rng.randint(2, 20))))
        return cv2.resize(small.astype(np.uint8), (wide, HEIGHT), interpolation=cv2.INTER_CUBIC)
    for _ in range(rng.randint(1, 25)):
        a, b = ((rng.randint(0, wide), rng.randint(0, HEIGHT)) for _ in range(2))
        ink, thick = rng.randint(0, 255), rng.randint(1, 6)
        shape = rng.choice(("line", "box", "ring", "bar"))
        if shape == "line":
            cv2.line(canvas, a, b, ink, thick)
        elif shape == "box":
            cv2.rectangle(canvas, a, b, ink, thick)
        elif shape == "ring":
            cv2.circle(canvas, a, rng.randint(3, 20), ink, thick)
        else:
            cv2.rectangle(canvas, (a[0], 3), (a[0] + thick, HEIGHT - 3), ink, -1)
    return canvas


def sample(number: int, held_out: bool, kind: str | None = None) -> Sample:
    """Make the line of a number; of a kind of the caller's choice, or of a chance one."""
    rng = random.Random(number * 2 + held_out)
    while True:
        name = kind or rng.choices(NAMES, [_WEIGHTS.get(name, 1.5) for name in NAMES])[0]
        if name == "Latin" and kind is None and rng.random() < 0.35:
            name = "code"
        if (name == "Common" and rng.random() < 0.3) or name == "scribble":
            line, text, font = _scribble(rng), "", ""
        else:
            text = text_of(rng, name, held_out)
            font = rng.choice(fonts("Latin" if name == "code" else name, held_out))
            if not _has(font, text):
                continue
            size = rng.choice((12, 14, 16, 18, 22, 26, 32, 40, 52))
            drawn = _drawn(text, font, size, rng)
            if drawn is None:
                continue
            line = _spoiled(drawn, rng)
        shares = shares_of(text if name != "code" else "a")
        if kind is None and rng.random() < 0.05:  # upside down: nothing can be said of it
            line, shares = line[::-1, ::-1].copy(), shares_of("")
        wide = max(8, min(WIDEST, round(line.shape[1] * HEIGHT / line.shape[0])))
        if line.shape[1] * HEIGHT / line.shape[0] > WIDEST:
            # The rest isn't seen, so how letters are shared isn't known.
            if shares.max() < 1:
                continue
            line = line[:, : round(WIDEST * line.shape[0] / HEIGHT)]
        pixels = cv2.resize(line, (wide, HEIGHT), interpolation=cv2.INTER_LINEAR)
        return Sample(pixels, shares, text, name, font)


@cache
def _covered(font: str) -> frozenset[int]:
    path, index = font.rsplit(":", 1)
    if path.lower().endswith(".ttc"):
        return frozenset(TTCollection(path, lazy=True).fonts[int(index)].getBestCmap())
    return frozenset(TTFont(path, lazy=True).getBestCmap() or ())


def _has(font: str, text: str) -> bool:
    """Tell whether a font can draw a text: what it lacks would be a box."""
    covered = _covered(font)
    return all(ord(letter) in covered for letter in text if letter != " ")
