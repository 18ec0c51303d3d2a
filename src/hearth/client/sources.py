"""Sources: files, bytes, texts, arrays of pixels, one or many."""

import os
import stat
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar, Union, cast

from hearth.blocking import run_blocking
from hearth.catalog import TaskInfo
from hearth.client.mime import TEXT, guess

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
        return Payload(source, mime or guess(source))
    if isinstance(source, str) and task.takes_text:
        return Payload(source.encode(), mime or TEXT)
    if isinstance(source, str | os.PathLike):
        return of_file(read(source), str(source), task, mime)
    if isinstance(source, bytearray | memoryview):
        return Payload(content := bytes(source), mime or guess(content))
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
    mime = mime or guess(content, name)
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
