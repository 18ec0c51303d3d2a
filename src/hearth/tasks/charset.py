"""Texts in the encodings that their mime names.

Python's own look-up of an encoding isn't used for what clients send: it would find what is no
encoding of texts (base64, zip), what takes quadratic time (punycode, idna), and it remembers every
name that it was ever asked for.
"""

import re
from encodings.aliases import aliases
from itertools import chain

from hearth.errors import InvalidInput

UTF_8 = "utf-8"

_CHARSET = re.compile(r';\s*charset\s*=\s*(?:"([^"]*)"|([^;\s]*))', re.IGNORECASE)
_BOM = "\ufeff"
_BOMS = ((b"\xff\xfe\x00\x00", "utf-32"), (b"\x00\x00\xfe\xff", "utf-32"),
         (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))  # fmt: skip
"""Byte order marks with their encodings, the longer ones first."""

CODECS = frozenset(
    chain(
        ("utf_8", "utf_8_sig", "ascii", "latin_1", "tis_620"),
        (f"utf_{bits}{order}" for bits in (16, 32) for order in ("", "_le", "_be")),
        (f"iso8859_{part}" for part in (*range(1, 12), *range(13, 17))),
        (f"cp125{page}" for page in range(9)),
        ("cp437", "cp737", "cp775", "cp850", "cp852", "cp855", "cp857", "cp858", "cp860", "cp861"),
        ("cp862", "cp863", "cp864", "cp865", "cp866", "cp869", "cp874", "cp932", "cp949", "cp950"),
        ("koi8_r", "koi8_u", "mac_roman", "mac_latin2", "mac_cyrillic", "mac_greek", "mac_turkish"),
        ("shift_jis", "euc_jp", "iso2022_jp", "euc_kr", "gb2312", "gbk", "gb18030", "big5"),
    )
)
"""Encodings that are taken, by Python's names: one pass over the bytes, and no more characters
than bytes. UTF-7 isn't among them, as in browsers."""

_MORE_ALIASES = {
    "windows_874": "cp874", "windows_31j": "cp932", "x_sjis": "cp932", "iso_8859_8_i": "iso8859_8",
    "unicode": "utf_16", "ucs_2": "utf_16",
}  # fmt: skip
"""Names that Python doesn't have: IANA's, and browsers' (WHATWG's Encoding Standard, 4.2)."""


def charset_of(mime: str) -> str:
    """Return the ``charset`` of a mime, as the client spelt it; empty where it names none."""
    named = _CHARSET.search(mime)
    return (named[1] or named[2] or "").strip().strip("'") if named else ""


def decode(payload: bytes, charset: str) -> str:
    """Decode a text without its byte order mark.

    Without a ``charset`` it is UTF-8, or what a byte order mark of UTF-16 or UTF-32 says;
    UTF-16 and UTF-32 without a mark are in the machine's order, little-endian. Raises
    InvalidInput where the charset isn't known, and where the bytes are no text in it.
    """
    if charset:
        shown, codec = charset, _codec(charset)
    else:
        codec = next((name for mark, name in _BOMS if payload.startswith(mark)), UTF_8)
        shown = codec.upper()
    try:
        return payload.decode(codec).removeprefix(_BOM)
    except UnicodeDecodeError as error:
        at = f"byte {error.start} is 0x{payload[error.start]:02x}"
        raise InvalidInput(f"the text isn't {shown}: {at}") from None


def _codec(charset: str) -> str:
    name = "_".join(charset.lower().replace("-", " ").replace(".", " ").split())
    plain = name.removeprefix("x_")  # x-mac-roman, x-gbk
    codec = _MORE_ALIASES.get(name) or aliases.get(plain, plain)
    if codec not in CODECS:
        raise InvalidInput(f"no charset {charset[:40]!r} is known here: send the text in UTF-8")
    return codec
