"""HEIF files: which coding their images have (HEVC is HEIC, AV1 is AVIF), by their boxes.

ISO/IEC 14496-12 and 23008-12. libheif, in ``pi_heif``, decodes HEIC: the main image alone, however
many previews, depth maps and films stand beside it, turned as its boxes say. Exif's orientation is
no instruction in HEIF, and ``pi_heif`` sets it to 1.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Literal

from PIL import ImageFile

from hearth.errors import InvalidInput
from hearth.iso_media import ANY_CODING, AV1, HEVC, MOST_BOXES, boxes, brands_of

BRANDS = HEVC | AV1 | ANY_CODING
"""Brands of files with still images, and with sequences of them."""

_SHORTEST_ITEM, _LONGEST_ITEM = 12, 4096
"""Bytes of an item's entry: its head, numbers, a short name and the name of a type."""

_TYPE_AT = {2: 8, 3: 10}
"""Place of an item's type in its entry, by the version of that."""

Coding = Literal["HEVC", "AV1"]


def coding_of(payload: bytes) -> Coding:
    """Tell how the images of a HEIF file are coded; raises InvalidInput for what isn't read."""
    items = set(_item_types(payload))
    if {b"hvc1", b"hev1", b"lhv1"} & items:
        return "HEVC"
    if b"av01" in items:
        return "AV1"
    brands = set(brands_of(payload))
    if AV1 & brands:
        return "AV1"
    if coded := items - {b"grid", b"iden", b"iovl", b"tmap", b"Exif", b"mime", b"uri "}:
        name = min(coded).decode("ascii", "replace").strip()
        raise InvalidInput(f"a HEIF image coded as {name!r} isn't read here: send it as JPEG")
    if next(_contents(payload, b"moov"), None) is not None:
        raise InvalidInput("a HEIF film without a still image: hearth watch takes videos")
    return "HEVC"


def branded_avif(payload: bytes) -> bytes:
    """Make an AVIF file that says so by its brands, which Pillow goes by."""
    if AV1 & set(brands_of(payload)):
        return payload
    return b"".join((payload[:8], b"avif", payload[12:]))


def check_items(payload: bytes) -> None:
    """Raise InvalidInput where an item's type or name is no text: ``pi_heif`` 1.4 crashes then.

    Wherever in the file's description an item seems to be: no other way of walking through the
    boxes is to find one that isn't checked.
    """
    count = 0
    for meta in _contents(payload, b"meta"):
        for mark in re.finditer(b"infe", meta):
            count += 1
            size = int.from_bytes(meta[max(0, mark.start() - 4) : mark.start()], "big")
            if count > MOST_BOXES or not _SHORTEST_ITEM <= size <= _LONGEST_ITEM:
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
    meta = next(_contents(payload, b"meta"), memoryview(b""))
    info = next(_contents(meta[4:], b"iinf"), memoryview(b""))
    head = 6 if info[:1].tobytes() == b"\0" else 8
    for entry in _contents(info[head:], b"infe"):
        if len(entry) and entry[0] in _TYPE_AT:
            at = _TYPE_AT[entry[0]]
            yield entry[at : at + 4].tobytes()


def _contents(content: bytes | memoryview, kind: bytes) -> Iterator[memoryview]:
    """Find the boxes of one kind; gives their contents."""
    return (box.content for box in boxes(content, "HEIF") if box.kind == kind)
