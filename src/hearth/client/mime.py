"""What a payload is, by its first bytes, then by its name."""

import mimetypes

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
)


def guess(payload: bytes, name: str = "") -> str:
    """The mime of ``payload``; ``name`` is a file name, where there is one.

    Content goes first: files are often mislabelled.
    """
    head = payload[:HEAD]
    for offset, magic, mime in _MAGIC:
        # Two letters could start a text as well; a bitmap's header has zero bytes.
        if head[offset : offset + len(magic)] == magic and (len(magic) > 2 or b"\0" in head):
            return mime
    if _is_text(head):
        return TEXT
    by_name, _ = mimetypes.guess_type(name)
    return by_name or BINARY


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # The cut at HEAD may fall into the middle of a character (at most 3 bytes of it).
        return len(head) == HEAD and error.start >= HEAD - 3
    return True
