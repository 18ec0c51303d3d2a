"""What a task is done to: a file, bytes, a text, an array of pixels."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, Union, cast

from hearth.catalog import TaskInfo
from hearth.client.mime import TEXT, guess

if TYPE_CHECKING:
    import numpy as np


class Payload(NamedTuple):
    """What is sent."""

    content: bytes
    mime: str


class Loadable(Protocol):
    """A source that knows its payload itself."""

    def load(self, task: TaskInfo) -> Payload:
        """What is sent to do ``task``; raises OSError, ValueError."""


Source = Union[str, os.PathLike[str], bytes, bytearray, memoryview, "np.ndarray", Loadable]
"""A file by its name or Path; the bytes of one; pixels, as uint8 (height, width, 3), RGB, or
(height, width), grey. For a task that takes texts alone, a ``str`` is the text itself."""

LARGEST_FILE = 1 << 30
"""Bytes: the most that any node can be set to take (``max_payload_mb``)."""

FORMATS = {1: "gray", 3: "rgb", 4: "rgba"}
"""Of raw frames, by their channels."""


def load(source: Source, task: TaskInfo, mime: str = "") -> Payload:
    """The payload of a source; raises OSError where a file can't be read.

    ``mime`` is what the caller says that it is; else its first bytes tell, and its name.
    Raises TypeError and ValueError for what is no source.
    """
    if isinstance(source, str) and task.takes_text:
        return Payload(source.encode(), mime or TEXT)
    if isinstance(source, str | os.PathLike):
        return of_file(read(source), str(source), task, mime)
    if isinstance(source, bytes):
        return Payload(source, mime or guess(source))
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
    """A file's content; raises OSError, and ValueError for one that no node takes."""
    path = Path(file)
    if (size := path.stat().st_size) > LARGEST_FILE:
        raise ValueError(f"the file has {size:,} bytes: nodes take up to {LARGEST_FILE >> 20} MiB")
    return path.read_bytes()


def of_file(content: bytes, name: str, task: TaskInfo, mime: str = "") -> Payload:
    """The payload of a file's content."""
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
