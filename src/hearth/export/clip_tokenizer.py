"""Rules by which open_clip cleans a text before it splits it, as normalisers of ``tokenizers``.

An export carries it in its ``tokenizer.json``, so that any program gets the ids that the model was
trained with. A node itself cleans with ``tokenizer.clean``, which is exact, and sets these aside.

Not expressed is what takes more than replacing: ftfy's mending of wrongly decoded UTF-8 ("Ã©");
of HTML's entities those for letters of ASCII, and those beyond Latin-1 that HTML 4 has no name
for; more than two layers of them beside a "<"; and a final sigma behind a full stop ("A.Σ").
"""

import html
import json
import string
from collections.abc import Iterable, Iterator, Mapping
from html.entities import html5, name2codepoint
from pathlib import Path
from typing import Any

from hearth.families.clip.tokenizer import OWN_NORMALIZER, JsonTokenizer
from hearth.hub.atomic import write_json

_AMPERSANDS = r"&(?:(?:amp|AMP|#0*38|#[xX]0*26);)+"

_CASED = r"\p{Lu}\p{Ll}\p{Lt}"
_FINAL_SIGMA = rf"(?<=[{_CASED}])Σ(?![\p{{Mn}}\p{{Cf}}'’.·:]*[{_CASED}])"
"""A sigma that ends a word: lower-cased it is ς (Unicode, table 3-17)."""

_SPACES = r"[\s\x1c-\x1f]+"
"""Characters that ``str.split`` takes for spaces."""


def write_tokenizer(tokenizer: JsonTokenizer, settings: Mapping[str, Any], folder: Path) -> None:
    """Write ``tokenizer.json`` for any program, and ``tokenizer_config.json`` with ``settings``.

    The first cleans, cuts and fills texts as open_clip does; the second says which part of its
    normaliser is the tokenizer's own, so that a node cleans but once.
    """
    import tokenizers

    alone = tokenizers.Tokenizer.from_str(tokenizer.library.to_str())
    own = json.loads(alone.to_str())["normalizer"]
    steps = [cleaning(tokenizer.how), *([alone.normalizer] if own else [])]
    alone.normalizer = tokenizers.normalizers.Sequence(steps)
    pad = tokenizer.pad_id
    alone.enable_padding(
        length=tokenizer.context, pad_id=pad, pad_token=alone.id_to_token(pad) or ""
    )
    alone.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {**settings, OWN_NORMALIZER: own})


def cleaning(how: str) -> Any:
    """Return the normaliser for a way of cleaning: ``lower``, ``whitespace`` or ``canonicalize``.

    After ``tokenizer.clean``, and in effect the same but for what the module's text names.
    """
    from tokenizers import normalizers

    steps = [_replace(pattern, content) for pattern, content in (*_entities(), *_characters())]
    steps.append(normalizers.NFC())
    if how == "canonicalize":
        steps += [_replace("_", " "), _replace(f"[{_escaped(string.punctuation)}]", "")]
    steps += [_replace(_SPACES, " "), normalizers.Strip()]
    if how != "whitespace":
        steps += [_replace(_FINAL_SIGMA, "ς"), normalizers.Lowercase()]
    return normalizers.Sequence(steps)


def _replace(pattern: str, content: str) -> Any:
    from tokenizers import Regex, normalizers

    return normalizers.Replace(Regex(pattern), content)


def _entities() -> Iterator[tuple[str, str]]:
    """List the character references of HTML, as ``html.unescape`` reads them."""
    yield _AMPERSANDS, "&"
    names: dict[str, list[str]] = {}
    for name, character in html5.items():
        names.setdefault(character, []).append(name)
    signs = map(ord, string.punctuation)
    for code in sorted({*signs, *range(0x80, 0x100), *name2codepoint.values()}):
        character = html.unescape(f"&#{code};")
        numbers = [rf"#0*{code}(?![0-9]);?", rf"#[xX]0*(?i:{code:x})(?![0-9a-fA-F]);?"]
        # Some old ones count without their semicolon.
        named = [
            name if name.endswith(";") else f"{name}(?![0-9a-zA-Z;])"
            for name in names.get(character, [])
        ]
        yield f"&(?:{'|'.join([*numbers, *named])})", character


def _characters() -> Iterator[tuple[str, str]]:
    """List the characters for which ftfy puts others, and those that it leaves out."""
    from ftfy import chardata

    for code in range(0x80, 0xA0):  # meant as Windows-1252, where that has them
        yield chr(code), html.unescape(f"&#{code};")
    yield chardata.SINGLE_QUOTE_RE.pattern, "'"
    yield chardata.DOUBLE_QUOTE_RE.pattern, '"'
    for code, content in (chardata.LIGATURES | chardata.WIDTH_MAP).items():
        yield chr(code), content
    yield "\x1b\\[[\\d;]*[a-zA-Z]", ""
    yield f"[{_escaped(map(chr, chardata.CONTROL_CHARS))}]", ""


def _escaped(characters: Iterable[str]) -> str:
    """Write characters as they stand in a class of a regular expression."""
    return "".join(f"\\x{{{ord(character):x}}}" for character in characters)
