"""HEIC files made anew around the coded image of ``cases/phone.heic``: nobody here can encode."""

import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from checkout import CASES


def box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def boxes(content: bytes, at: int = 0) -> Mapping[bytes, bytes]:
    """The contents of boxes that follow each other, by their kinds."""
    found = {}
    while at < len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        found[kind] = content[at + 8 : at + size]
        at += size
    return found


class Item(NamedTuple):
    """One item: what it is coded as, its bytes, and the numbers of its properties."""

    kind: bytes
    content: bytes
    properties: tuple[int, ...] = ()


class Reference(NamedTuple):
    """What an item is to others, all by their numbers from 1."""

    kind: bytes
    item: int
    to: tuple[int, ...]


_PHONE = boxes((CASES / "phone.heic").read_bytes())
_PROPERTIES = boxes(boxes(boxes(_PHONE[b"meta"], 4)[b"iprp"])[b"ipco"])
HEVC, COLOUR, SIZE, BITS = range(1, 5)
"""The properties that every file here has."""
OTHERS = 5
"""The number of the first that a test gives."""

CODED = Item(b"hvc1", _PHONE[b"mdat"], (HEVC, COLOUR, SIZE, BITS))
"""The invoice, 640 × 240."""


def rotation(quarters: int) -> bytes:
    """Anticlockwise."""
    return box(b"irot", bytes([quarters]))


def mirror(axis: int) -> bytes:
    """0: top and bottom are exchanged (about the horizontal axis); 1: left and right."""
    return box(b"imir", bytes([axis]))


def extent(width: int, height: int) -> bytes:
    return box(b"ispe", bytes(4), struct.pack(">II", width, height))


def grid(rows: int, columns: int, width: int, height: int) -> bytes:
    """The content of an item that is made of others."""
    return struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)


def exif(orientation: int) -> Item:
    """Exif's notes, which say nothing of how an image is shown."""
    directory = struct.pack(">HHHIHHI", 1, 274, 3, 1, orientation, 0, 0)
    return Item(b"Exif", struct.pack(">I", 6) + b"Exif\0\0MM\0*\0\0\0\x08" + directory)


def heif(
    items: Iterable[Item] = (CODED,),
    properties: Iterable[bytes] = (),
    *,
    main: int = 1,
    references: Iterable[Reference] = (),
    brands: bytes = b"heicmif1heicmiaf",
) -> bytes:
    """A file of these items; ``properties`` have the numbers from ``OTHERS`` on."""
    items = tuple(items)
    head = box(b"ftyp", brands[:4], bytes(4), brands[4:])
    known = [box(kind, content) for kind, content in _PROPERTIES.items()]
    associations = [
        struct.pack(">HB", number, len(item.properties))
        + bytes(0x80 | each if each in (HEVC, *range(OTHERS, 99)) else each
                for each in item.properties)
        for number, item in enumerate(items, 1) if item.properties
    ]  # fmt: skip
    entries = [
        box(b"infe", b"\2\0\0\0", struct.pack(">HH4s", number, 0, item.kind), b"\0")
        for number, item in enumerate(items, 1)
    ]
    links = [
        box(each.kind, struct.pack(f">HH{len(each.to)}H", each.item, len(each.to), *each.to))
        for each in references
    ]

    def meta(start: int) -> bytes:
        places, at = [], start
        for number, item in enumerate(items, 1):
            places.append(struct.pack(">HHHII", number, 0, 1, at, len(item.content)))
            at += len(item.content)
        return box(
            b"meta", bytes(4),
            box(b"hdlr", bytes(8), b"pict", bytes(13)),
            box(b"pitm", bytes(4), struct.pack(">H", main)),
            box(b"iloc", bytes(4), b"\x44\0", struct.pack(">H", len(items)), *places),
            box(b"iinf", bytes(4), struct.pack(">H", len(items)), *entries),
            *([box(b"iref", bytes(4), *links)] if links else []),
            box(b"iprp", box(b"ipco", *known, *properties),
                box(b"ipma", bytes(4), struct.pack(">I", len(associations)), *associations)),
        )  # fmt: skip

    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + box(b"mdat", *(item.content for item in items))
