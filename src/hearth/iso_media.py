"""ISO's base media files (ISO/IEC 14496-12): the brands they begin with, and their boxes.

HEIF images are such files, MP4 films, and JPEG XL in its container.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from hearth.errors import InvalidInput

HEVC = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))
"""Brands of HEIF images, and sequences of them, that are coded as HEVC: HEIC."""
AV1 = frozenset((b"avif", b"avis"))
"""Brands of those that are coded as AV1: AVIF."""
ANY_CODING = frozenset((b"mif1", b"mif2", b"msf1", b"miaf"))
"""Brands of HEIF images that don't say how they are coded."""

MOST_BOXES = 10_000
"""Boxes one after another; an image of 100 megapixels has some 400 tiles."""

_LONGEST_HEAD = 1024
"""Bytes in which brands are looked for."""


class IsoBox(NamedTuple):
    """Part of a file."""

    kind: bytes
    content: memoryview
    """Bytes in the box, uncopied; fewer than announced where the file ends."""


def brands_of(payload: bytes) -> list[bytes]:
    """List the brands of a file, its own first; none where it doesn't begin with them."""
    if payload[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(payload[:4], "big"), len(payload), _LONGEST_HEAD)
    return [payload[8:12], *(payload[at : at + 4] for at in range(16, end, 4))]


def boxes(content: bytes | memoryview, name: str) -> Iterator[IsoBox]:
    """Walk the boxes that stand one after another, up to the first thing that is none.

    Raises InvalidInput, with the format's ``name``, where there are more than any file has.
    """
    view, at = memoryview(content), 0
    for _ in range(MOST_BOXES):
        if at + 8 > len(view):
            return
        size, kind = struct.unpack_from(">I4s", view, at)
        head = 8
        if size == 1 and at + 16 <= len(view):
            (size,) = struct.unpack_from(">Q", view, at + 8)
            head = 16
        if size == 0:
            size = len(view) - at
        if size < head:
            return
        yield IsoBox(kind, view[at + head : at + size])
        at += size
    raise InvalidInput(f"the {name} file has more than {MOST_BOXES:,} boxes in a row")
