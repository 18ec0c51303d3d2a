"""Types of payloads, by their first bytes, then by their names."""

import mimetypes
from collections.abc import Mapping

from hearth.catalog import RAW

TEXT = "text/plain;charset=utf-8"
HEAD = 4096
"""Bytes that are looked at to tell text from binary."""

_MAGIC = (
    # (offset, bytes, mime): the signatures of the formats' own specifications.
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (0, b"BM", "image/bmp"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (0, b"II+\x00", "image/tiff"),
    (0, b"MM\x00+", "image/tiff"),
    (8, b"WEBP", "image/webp"),
    (0, b"\xff\x0a", "image/jxl"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "image/jxl"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "image/jp2"),
    (0, b"FUJIFILMCCD-RAW ", "image/x-fuji-raf"),
    (0, b"IIU\0", "image/x-panasonic-rw2"),
)

_MAGIC_BY_FIRST = {
    first: tuple(each for each in _MAGIC if each[0] or each[1][:1] == bytes([first]))
    for first in range(256)
}
"""Signatures that a content with this first byte may have."""

_BRANDS = (
    # Brands of ISO's media files: which coding they name goes before that they are images.
    ({b"avif", b"avis"}, "image/avif"),
    ({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}, "image/heic"),
    ({b"mif1", b"mif2", b"msf1"}, "image/heif"),
    ({b"crx "}, "image/x-canon-cr3"),
)

_RAW_TIFFS: Mapping[str, str] = {
    ".dng": "image/x-adobe-dng", ".nef": "image/x-nikon-nef", ".cr2": "image/x-canon-cr2",
    ".arw": "image/x-sony-arw", ".pef": "image/x-pentax-pef",
}  # fmt: skip
"""RAW files that begin as TIFF files do."""

PICTURE_ENDINGS: Mapping[str, str] = {
    ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".jpe": "image/jpeg", ".jfif": "image/jpeg",
    ".png": "image/png", ".webp": "image/webp", ".avif": "image/avif", ".gif": "image/gif",
    ".bmp": "image/bmp", ".tif": "image/tiff", ".tiff": "image/tiff", ".jp2": "image/jp2",
    ".jxl": "image/jxl", ".heic": "image/heic", ".heif": "image/heif", ".hif": "image/heif",
    **_RAW_TIFFS, ".cr3": "image/x-canon-cr3", ".raf": "image/x-fuji-raf",
    ".rw2": "image/x-panasonic-rw2", ".orf": "image/x-olympus-orf",
}  # fmt: skip
"""Mime types of pictures by the file's ending, in lower case; what it can read, the node says."""


def guess(payload: bytes, name: str = "") -> str:
    """Guess the mime of ``payload``; ``name`` is a file name, where there is one.

    Content goes first: files are often mislabelled.
    """
    head = payload[:HEAD]
    for offset, magic, mime in _MAGIC_BY_FIRST[head[0]] if head else ():
        # Two letters could start a text as well; a bitmap's header has zero bytes.
        is_sure = len(magic) > 2 or not magic.isascii() or b"\0" in head
        if is_sure and head[offset : offset + len(magic)] == magic:
            return _RAW_TIFFS.get(_ending(name), mime) if mime == "image/tiff" else mime
    if mime := _by_brand(head):
        return mime
    if _is_text(head):
        return TEXT
    return by_name(name) or RAW


def by_name(name: str) -> str | None:
    """Return the mime that a file's ending stands for, in any case; None where none is known."""
    return PICTURE_ENDINGS.get(_ending(name)) or mimetypes.guess_type(name)[0]


def _ending(name: str) -> str:
    _, dot, ending = name.rpartition(".")
    return f"{dot}{ending.lower()}"


def _by_brand(head: bytes) -> str:
    """Return the mime of an image in ISO's container; empty for films, and for what is none."""
    if head[4:8] != b"ftyp":
        return ""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, end, 4))}
    return next((mime for known, mime in _BRANDS if known & brands), "")


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # The cut at HEAD may fall into the middle of a character (at most 3 bytes of it).
        return len(head) == HEAD and error.start >= HEAD - 3
    return True
