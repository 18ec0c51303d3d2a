"""HEIF files: which coding their images have (HEVC is HEIC, AV1 is AVIF), by their boxes.

ISO/IEC 14496-12 and 23008-12. libheif, in ``pi_heif``, decodes HEIC: the main image alone, however
many previews, depth maps and films stand beside it, turned as its boxes say. Exif's orientation is
no instruction in HEIF, and ``pi_heif`` sets it to 1.
"""

import re
import struct
from collections.abc import Iterator
from functools import cache
from typing import Literal

from PIL import ImageFile

from hearth.errors import InvalidInput

_HEVC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_AV1 = {b"avif", b"avis"}
BRANDS = _HEVC | _AV1 | {b"mif1", b"mif2", b"msf1", b"miaf"}
"""Brands of files with still images, and with sequences of them."""

_MOST_BOXES = 10_000
"""Number of boxes in one other, or one after another: an image of 100 megapixels has some 400
tiles."""

_SHORTEST_ITEM, _LONGEST_ITEM = 12, 4096
"""Bytes of an item's entry: its head, numbers, a short name and the name of a type."""

_TYPE_AT = {2: 8, 3: 10}
"""Place of an item's type in its entry, by the version of that."""

Coding = Literal["HEVC", "AV1"]


def brands_of(payload: bytes) -> list[bytes]:
    """Read the brands of a file, its own first; none where it doesn't begin with them."""
    if payload[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(payload[:4], "big"), len(payload), 1024)
    return [payload[8:12], *(payload[at : at + 4] for at in range(16, end, 4))]


def coding_of(payload: bytes) -> Coding:
    """Tell how the images of a HEIF file are coded; raises InvalidInput for what isn't read."""
    items = set(_item_types(payload))
    if {b"hvc1", b"hev1", b"lhv1"} & items:
        return "HEVC"
    if b"av01" in items:
        return "AV1"
    brands = set(brands_of(payload))
    if _AV1 & brands:
        return "AV1"
    if coded := items - {b"grid", b"iden", b"iovl", b"tmap", b"Exif", b"mime", b"uri "}:
        name = min(coded).decode("ascii", "replace").strip()
        raise InvalidInput(f"a HEIF image coded as {name!r} isn't read here: send it as JPEG")
    if next(_boxes(payload, b"moov"), None) is not None:
        raise InvalidInput("a HEIF film without a still image: hearth watch takes videos")
    return "HEVC"


def branded_avif(payload: bytes) -> bytes:
    """Make an AVIF file that says so by its brands, which Pillow goes by."""
    if _AV1 & set(brands_of(payload)):
        return payload
    return b"".join((payload[:8], b"avif", payload[12:]))


def check_items(payload: bytes) -> None:
    """Raise InvalidInput where an item's type or name is no text: ``pi_heif`` 1.4 crashes then.

    Wherever in the file's description an item seems to be: no other way of walking through the
    boxes is to find one that isn't checked.
    """
    count = 0
    for meta in _boxes(payload, b"meta"):
        for mark in re.finditer(b"infe", meta):
            count += 1
            size = int.from_bytes(meta[max(0, mark.start() - 4) : mark.start()], "big")
            if count > _MOST_BOXES or not _SHORTEST_ITEM <= size <= _LONGEST_ITEM:
                raise _broken_item()
            entry = bytes(meta[mark.end() : mark.start() - 4 + size])
            try:
                entry[_TYPE_AT.get(entry[0], 8) :].decode()
            except UnicodeDecodeError:
                raise _broken_item() from None


@cache
def heic_opener() -> type[ImageFile.ImageFile] | None:
    """Return the opener of HEIC images, like Pillow's own classes; None where ``pi_heif`` is
    missing.
    """
    try:
        from pi_heif import options
        from pi_heif.as_plugin import HeifImageFile  # without registering it for all of Pillow
    except ImportError:
        return None
    # What stands beside the image is of no use here, and more code that could fail.
    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
    opener: type[ImageFile.ImageFile] = HeifImageFile
    return opener


def _broken_item() -> InvalidInput:
    return InvalidInput("the image is broken or cut short (HEIF: an item)")


def _item_types(payload: bytes) -> Iterator[bytes]:
    """Read the types of all items: what they are coded as, or how they are made of others."""
    # A file has one box of either kind: 8.11.1 and 8.11.6 of ISO/IEC 14496-12.
    meta = next(_boxes(payload, b"meta"), memoryview(b""))
    info = next(_boxes(meta[4:], b"iinf"), memoryview(b""))
    head = 6 if info[:1].tobytes() == b"\0" else 8
    for entry in _boxes(info[head:], b"infe"):
        if len(entry) and entry[0] in _TYPE_AT:
            at = _TYPE_AT[entry[0]]
            yield entry[at : at + 4].tobytes()


def _boxes(content: bytes | memoryview, kind: bytes) -> Iterator[memoryview]:
    """Find the boxes of one kind, of those that stand one after another: their contents, uncopied.

    Raises InvalidInput where there are more than any file has.
    """
    view, at = memoryview(content), 0
    for _ in range(_MOST_BOXES):
        if at + 8 > len(view):
            return
        size, name = struct.unpack_from(">I4s", view, at)
        head = 8
        if size == 1 and at + 16 <= len(view):
            (size,) = struct.unpack_from(">Q", view, at + 8)
            head = 16
        if size == 0:
            size = len(view) - at
        if size < head:
            return
        if name == kind:
            yield view[at + head : at + size]
        at += size
    raise InvalidInput(f"the HEIF file has more than {_MOST_BOXES:,} boxes in a row")
