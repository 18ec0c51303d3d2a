"""Sources: files, bytes, texts, arrays of pixels, one or many; and what their bytes are."""

import mimetypes
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar, Union, cast

from hearth.blocking import run_blocking
from hearth.catalog import RAW, TaskInfo
from hearth.iso_media import ANY_CODING, AV1, HEVC, brands_of

if TYPE_CHECKING:
    import numpy as np


class Payload(NamedTuple):
    """Bytes that are sent, and their mime."""

    content: bytes
    mime: str


class Loadable(Protocol):
    """A source that knows its payload itself."""

    def load(self, task: TaskInfo) -> Payload:
        """Return what is sent to do ``task``; raises OSError, ValueError."""


Source = Union[str, os.PathLike[str], bytes, bytearray, memoryview, "np.ndarray", Loadable]
"""File by its name or Path; the bytes of one; pixels, as uint8 (height, width, 3), RGB, or
(height, width), grey. For a task that takes texts alone, a ``str`` is the text itself."""

MAX_FILE = 1 << 30
"""Bytes of a file, the most that any node can be set to take (``max_payload_mb``)."""

FORMATS = {1: "gray", 3: "rgb", 4: "rgba"}
"""Pixel formats of raw frames by their channels."""

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
    (AV1, "image/avif"),
    (HEVC, "image/heic"),
    (ANY_CODING, "image/heif"),
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

END = object()
"""Mark behind the last item."""

T = TypeVar("T")

_PIECE = 1 << 20


def load(source: Source, task: TaskInfo, mime: str = "") -> Payload:
    """Return the payload of a source; raises OSError where a file can't be read.

    ``mime`` is what the caller says that it is; else its first bytes tell, and its name.
    Raises TypeError and ValueError for what is no source.
    """
    if isinstance(source, bytes):
        return Payload(source, mime or guess_mime(source))
    if isinstance(source, str) and task.takes_text:
        return Payload(source.encode(), mime or TEXT)
    if isinstance(source, str | os.PathLike):
        return of_file(read(source), str(source), task, mime)
    if isinstance(source, bytearray | memoryview):
        return Payload(content := bytes(source), mime or guess_mime(content))
    kind = type(source).__name__
    if hasattr(source, "__array_interface__"):
        if not hasattr(source, "tobytes") or not hasattr(source, "ndim"):  # Pillow's, for one
            raise TypeError(
                f"{kind} is no source: give its pixels as an array "
                '(numpy.asarray(image.convert("RGB"))), or its file'
            )
        return _of_pixels(cast("np.ndarray", source))
    if hasattr(source, "load"):
        return source.load(task)
    raise TypeError(f"{kind} is no source: give a file's name, bytes, or an array of uint8")


def read(file: str | os.PathLike[str]) -> bytes:
    """Return a file's content; raises OSError, and ValueError for one that no node takes."""
    # Four calls of the system for most files, half of Path.read_bytes': each may cost a thread its
    # turn at the interpreter.
    descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        size = status.st_size
        if size > MAX_FILE:
            raise ValueError(f"the file has {size:,} bytes: nodes take up to {MAX_FILE >> 20} MiB")
        content = os.read(descriptor, size + 1)
        if len(content) == size and stat.S_ISREG(status.st_mode):
            return content
        pieces = [content]
        while piece := os.read(descriptor, _PIECE):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        os.close(descriptor)


def of_file(content: bytes, name: str, task: TaskInfo, mime: str = "") -> Payload:
    """Return the payload of a file's content."""
    mime = mime or guess_mime(content, name)
    if task.takes_text and mime == TEXT:
        # The end of a file's last line is no part of the text.
        content = content.removesuffix(b"\n").removesuffix(b"\r")
    return Payload(content, mime)


def _of_pixels(pixels: "np.ndarray") -> Payload:
    channels = pixels.shape[2] if pixels.ndim == 3 else 1 if pixels.ndim == 2 else 0
    if pixels.dtype.name != "uint8" or channels not in FORMATS or not pixels.size:
        raise ValueError(
            f"pixels are uint8 in the shape (height, width, 3), not {pixels.dtype} {pixels.shape}"
        )
    height, width = pixels.shape[:2]
    mime = f"image/x-raw;format={FORMATS[channels]};width={width};height={height}"
    return Payload(pixels.tobytes(), mime)


async def as_async(items: AsyncIterable[T] | Iterable[T]) -> AsyncGenerator[T, None]:
    """Yield the items, whether or not they come without waiting; on this loop."""
    if isinstance(items, AsyncGenerator):
        async with aclosing(items):
            async for item in items:
                yield item
    elif isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


async def on_a_thread(items: Iterable[T]) -> AsyncGenerator[T, None]:
    """Yield the items, each drawn on a thread that may be kept waiting."""
    iterator = iter(items)
    while (item := await run_blocking(partial(next, iterator, END))) is not END:
        yield item


def guess_mime(payload: bytes, name: str = "") -> str:
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
    return mime_by_name(name) or RAW


def mime_by_name(name: str) -> str | None:
    """Return the mime that a file's ending stands for, in any case; None where none is known."""
    return PICTURE_ENDINGS.get(_ending(name)) or mimetypes.guess_type(name)[0]


def _ending(name: str) -> str:
    _, dot, ending = name.rpartition(".")
    return f"{dot}{ending.lower()}"


def _by_brand(head: bytes) -> str:
    """Return the mime of an image in ISO's container; empty for films, and for what is none."""
    brands = set(brands_of(head))
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
