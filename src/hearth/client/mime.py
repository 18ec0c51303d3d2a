"""What a payload is, by its first bytes, then by its name."""

import mimetypes
from collections.abc import Mapping

TEXT = "text/plain;charset=utf-8"
BINARY = "application/octet-stream"
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
    (8, b"WEBP", "image/webp"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftypavis", "image/avif"),
    (4, b"ftypheic", "image/heic"),
    (4, b"ftypheix", "image/heic"),
    (4, b"ftypmif1", "image/heif"),
    (4, b"ftypmsf1", "image/heif"),
    (0, b"\xff\x0a", "image/jxl"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "image/jxl"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "image/jp2"),
)

PICTURE_ENDINGS: Mapping[str, str] = {
    ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".jpe": "image/jpeg", ".jfif": "image/jpeg",
    ".png": "image/png", ".webp": "image/webp", ".avif": "image/avif", ".gif": "image/gif",
    ".bmp": "image/bmp", ".tif": "image/tiff", ".tiff": "image/tiff", ".jp2": "image/jp2",
    ".jxl": "image/jxl", ".heic": "image/heic", ".heif": "image/heif", ".hif": "image/heif",
    ".dng": "image/x-adobe-dng", ".nef": "image/x-nikon-nef", ".cr2": "image/x-canon-cr2",
    ".arw": "image/x-sony-arw",
}  # fmt: skip
"""Mime types of pictures by the file's ending, in lower case; what it can read, the node says."""


def guess(payload: bytes, name: str = "") -> str:
    """The mime of ``payload``; ``name`` is a file name, where there is one.

    Content goes first: files are often mislabelled.
    """
    head = payload[:HEAD]
    for offset, magic, mime in _MAGIC:
        # Two letters could start a text as well; a bitmap's header has zero bytes.
        is_sure = len(magic) > 2 or not magic.isascii() or b"\0" in head
        if is_sure and head[offset : offset + len(magic)] == magic:
            return mime
    if _is_text(head):
        return TEXT
    return by_name(name) or BINARY


def by_name(name: str) -> str | None:
    """The mime type that a file's ending stands for, in any case; None where none is known."""
    _, dot, ending = name.rpartition(".")
    picture = PICTURE_ENDINGS.get(f"{dot}{ending.lower()}")
    return picture or mimetypes.guess_type(name)[0]


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # The cut at HEAD may fall into the middle of a character (at most 3 bytes of it).
        return len(head) == HEAD and error.start >= HEAD - 3
    return True
