"""The directories (IFDs) of TIFF files, and of the camera files that are built like them.

TIFF 6.0 and BigTIFF. Files are hostile: everything that is followed is bounded, and a loop of
offsets ends where it began.
"""

import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hearth.errors import InvalidInput

MOST_DIRECTORIES = 10_000
"""Directories in one file; a walk over so many takes some 100 ms, however many entries they
share."""

DEEPEST = 3
"""Depth to which directories are followed into one another: DNG needs 1, some cameras 2."""

_MOST_ENTRIES = 4096
"""Entries in one directory of a BigTIFF file, whose counts have 64 bits; real ones have dozens."""

_MOST_INSIDE = 100
"""Directories inside of one; a pyramid has some ten."""

# Tags of TIFF 6.0; its supplements (SubIFDs), Exif 2.32 and DNG 1.7.
NEW_SUBFILE_TYPE, SUBFILE_TYPE = 254, 255
WIDTH, LENGTH = 256, 257
ORIENTATION = 274
SUB_DIRECTORIES = 330

_REDUCED, _MASK = 1, 4
"""Bits of NewSubfileType; SubfileType 2 says the first of them."""

_NUMBERS: Mapping[int, str] = {
    1: "u1", 2: "u1", 3: "u2", 4: "u4", 6: "i1", 7: "u1", 8: "i2", 9: "i4", 11: "f4",
    12: "f8", 13: "u4", 16: "u8", 17: "i8", 18: "u8",
}  # fmt: skip
"""Types of fields as numpy has them; rationals (5 and 10) are read by nobody here."""


def broken(what: str) -> InvalidInput:
    """Say that a TIFF file isn't whole, and what of it."""
    return InvalidInput(f"the image is broken or cut short (TIFF: {what})")


_CLASSIC, _BIG = ("H", "HHI4s", "I"), ("Q", "HHQ8s", "Q")
"""Formats in which the count of entries, an entry and an offset are written."""


class _Header(NamedTuple):
    order: str
    is_big: bool
    first: int


class _Field(NamedTuple):
    type: int
    length: int
    """Number of values."""
    at: int
    """Place of its values, or the place that holds them itself."""


class Directory:
    """One directory: what is said of one image of the file. Raises InvalidInput where it ends
    past the file's end.

    Its entries stay in the file until one is asked for: thousands of directories may overlap.
    """

    def __init__(self, payload: bytes, header: _Header, offset: int) -> None:
        self._header = header
        self.payload = payload
        self.offset = offset
        """Bytes from the file's start."""
        self.order = header.order
        """``<`` or ``>``, as struct and numpy write it."""
        self.is_big = header.is_big
        """Whether the file is a BigTIFF."""
        counts, entry, place = _BIG if header.is_big else _CLASSIC
        self._entry, self._place = struct.Struct(self.order + entry), self.order + place
        step = self._entry.size
        self._start = offset + struct.calcsize(counts)
        if self._start > len(payload):
            raise broken("a directory")
        (count,) = struct.unpack_from(self.order + counts, payload, offset)
        end = self._start + count * step
        if count > _MOST_ENTRIES or end > len(payload):
            raise broken("a directory")
        self._tags = np.ndarray(count, f"{self.order}u2", payload, self._start, step)
        following = payload[end : end + struct.calcsize(place)]
        self.next = int.from_bytes(following, "little" if self.order == "<" else "big")
        """Place of the next directory; 0: this is the last."""

    def __contains__(self, tag: int) -> bool:
        return self._field(tag) is not None

    def _field(self, tag: int) -> _Field | None:
        """Find the first entry of a tag."""
        matches = np.flatnonzero(self._tags == tag)
        if not len(matches):
            return None
        start = self._start + int(matches[0]) * self._entry.size
        _, kind, length, value = self._entry.unpack_from(self.payload, start)
        if length * np.dtype(_NUMBERS.get(kind, "u8")).itemsize <= len(value):
            return _Field(kind, length, start + self._entry.size - len(value))
        return _Field(kind, length, *struct.unpack(self._place, value))

    def values(self, tag: int) -> NDArray[np.generic]:
        """Read the numbers of a field; empty if it is missing, of another type, or past the end."""
        field = self._field(tag)
        if field is None or field.type not in _NUMBERS:
            return np.empty(0, np.uint8)
        kind = np.dtype(self.order + _NUMBERS[field.type])
        if field.at + field.length * kind.itemsize > len(self.payload):
            return np.empty(0, np.uint8)
        return np.frombuffer(self.payload, kind, field.length, field.at)

    def count(self, tag: int) -> int:
        """Count the values that a field is said to have, of whatever type; 0 if it is missing."""
        field = self._field(tag)
        return field.length if field else 0

    def numbers(self, tag: int) -> NDArray[Any]:
        """Read the values of a field whose type has no sign, such as offsets; empty for others."""
        values = self.values(tag)
        return values if values.dtype.kind == "u" else np.empty(0, np.uint8)

    def number(self, tag: int, default: int = 0) -> int:
        """Read the first of ``numbers``."""
        values = self.numbers(tag)
        return int(values[0]) if len(values) else default

    def content(self, tag: int) -> bytes:
        """Read the bytes of a field."""
        return self.values(tag).tobytes()

    def inside(self, tag: int) -> "Directory | None":
        """Read the directory that a field points to; None where there is none."""
        if not (offset := self.number(tag)):
            return None
        try:
            return Directory(self.payload, self._header, offset)
        except InvalidInput:
            return None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels; 0 where it isn't told."""
        return self.number(WIDTH), self.number(LENGTH)

    @property
    def is_page(self) -> bool:
        """Whether the image is a picture of its own: no smaller version of another, no mask."""
        kind = self.number(NEW_SUBFILE_TYPE)
        return not kind & (_REDUCED | _MASK) and self.number(SUBFILE_TYPE) != 2


class Directories(NamedTuple):
    """The directories of a file."""

    top: list[Directory]
    """The chain, of one at least."""
    inside: list[Directory]
    """Directories inside of others (SubIFDs)."""

    def all(self) -> Iterator[Directory]:
        """Return each of them."""
        return chain(self.top, self.inside)


def first_directory(payload: bytes) -> Directory:
    """Find the first of a TIFF file's directories; raises InvalidInput where it is broken."""
    header = _header(payload)
    return next(_chain(payload, header, header.first, set()))


def read_directories(payload: bytes) -> Directories:
    """Read all directories of a TIFF file; raises InvalidInput where its chain is broken, or
    endless.

    What is broken inside of others is passed over, as are those that are too many.
    """
    header = _header(payload)
    seen: set[int] = set()
    top = list(_chain(payload, header, header.first, seen))
    inside: list[Directory] = []
    level = top
    for _ in range(DEEPEST):
        level = [
            directory
            for around in level
            for offset in around.numbers(SUB_DIRECTORIES)[:_MOST_INSIDE].tolist()
            for directory in _chain_inside(payload, header, offset, seen)
        ]
        inside += level
    return Directories(top, inside)


def pages(directories: Directories) -> list[Directory]:
    """Find the pictures of a TIFF file: at full size, and no masks.

    Where the chain has none, it may hold smaller versions of pictures that are inside. Raises
    InvalidInput where there are none.
    """
    for each in directories:
        if found := [directory for directory in each if directory.is_page]:
            return found
    raise InvalidInput("the TIFF has no picture but a preview or a mask: send the picture itself")


def starting_with(directory: Directory) -> bytes:
    """Rewrite the file with ``directory`` as the first of its chain, for readers who look no
    further.
    """
    start, size = (8, 8) if directory.is_big else (4, 4)
    offset = directory.offset.to_bytes(size, "little" if directory.order == "<" else "big")
    payload = directory.payload
    if payload[start : start + size] == offset:
        return payload
    return b"".join((payload[:start], offset, payload[start + size :]))


MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""Beginnings of TIFF files, and of BigTIFF files (the last two)."""


def _header(payload: bytes) -> _Header:
    order = "<" if payload[:2] == b"II" else ">"
    try:
        if b"+" not in payload[2:4]:
            return _Header(order, False, struct.unpack_from(order + "I", payload, 4)[0])
        return _Header(order, True, struct.unpack_from(order + "Q", payload, 8)[0])
    except struct.error:
        raise broken("its header") from None


def _chain(payload: bytes, header: _Header, first: int, seen: set[int]) -> Iterator[Directory]:
    """Follow a chain as far as it is whole; raises InvalidInput where it isn't from the first."""
    if not first:
        raise broken("it has no directory")
    offset = first
    while offset and offset not in seen:
        if len(seen) >= MOST_DIRECTORIES:
            raise InvalidInput(f"the TIFF has more than {MOST_DIRECTORIES:,} images")
        seen.add(offset)
        try:
            directory = Directory(payload, header, offset)
        except InvalidInput:
            if offset == first:
                raise
            return  # the pictures before are whole
        yield directory
        offset = directory.next


def _chain_inside(
    payload: bytes, header: _Header, first: int, seen: set[int]
) -> Iterator[Directory]:
    """Follow a chain inside of a directory, as far as it goes."""
    if first and first not in seen and len(seen) < MOST_DIRECTORIES:
        with suppress(InvalidInput):
            yield from _chain(payload, header, first, seen)
