"""Cameras' RAW files: the pictures that the camera itself made of them, and put inside.

What the sensor has seen is no picture yet, and its thumbnail no longer one: a file is read from
its largest JPEG, if that has at least half the length of the picture, or else refused by name.
"""

import struct
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from hearth.errors import InvalidInput
from hearth.media import tiff
from hearth.media.jpeg_file import FrameHeader, frame_header
from hearth.media.tiff import Directories, Directory

# Tags of TIFF 6.0, Exif 2.32 and DNG 1.7; the last two Panasonic's, as ExifTool names them.
_COMPRESSION, _PHOTOMETRIC, _MAKE = 259, 262, 271
_STRIP_OFFSETS, _STRIP_BYTE_COUNTS = 273, 279
_JPEG_OFFSET, _JPEG_LENGTH = 513, 514
_EXIF, _EXIF_WIDTH, _EXIF_LENGTH = 34665, 40962, 40963
_DNG_VERSION = 50706
_SENSOR_WIDTH, _SENSOR_HEIGHT, _JPEG_FROM_RAW = 2, 3, 46

_SENSORS = (32803, 34892)
"""PhotometricInterpretation: a colour filter array, and linear values of a camera's colours."""
_JPEGS = (6, 7)
"""Compression: JPEG, in the old way and the new."""

_SHOWN = (0xC0, 0xC1, 0xC2)
"""SOF0, 1 and 2: the frames that JPEG readers show; others are a sensor's, without loss."""

_MOST_JPEGS = 32
"""Number of JPEGs in one file that are looked at; cameras write some five."""
_LONGEST_HEAD = 4 << 20
"""Bytes in front of a JPEG's frame."""

_NAMES = {
    b"nikon": "NEF", b"canon": "CR2", b"sony": "ARW", b"pentax": "PEF", b"ricoh": "PEF",
    b"samsung": "SRW", b"hasselblad": "3FR", b"phase one": "IIQ", b"leica": "RWL",
    b"olympus": "ORF", b"kodak": "DCR",
}  # fmt: skip
"""Names of the formats, as makers call their files."""


MIMES = (
    "image/x-adobe-dng", "image/x-nikon-nef", "image/x-canon-cr2", "image/x-sony-arw",
    "image/x-fuji-raf", "image/x-panasonic-rw2", "image/x-pentax-pef",
)  # fmt: skip
"""Mimes of RAW files whose preview is read."""


class Preview(NamedTuple):
    """The JPEG that stands for a RAW file."""

    jpeg: bytes
    orientation: int | None
    """Exif's, as the RAW file says it; None: as the JPEG says it."""


def is_raw_tiff(payload: bytes, directories: Directories) -> bool:
    """Tell whether a file that is built like a TIFF holds what a sensor has seen."""
    return payload[8:10] == b"CR" or any(map(_holds_sensor, directories.all()))


def preview_of_tiff(payload: bytes, directories: Directories) -> Preview:
    """Find the preview in a DNG, NEF, CR2, ARW, PEF or their like; raises InvalidInput."""
    head = directories.top[0]
    places = (place for each in directories.all() for place in _jpegs_of(each))
    jpegs = [memoryview(payload)[place] for place in islice(places, _MOST_JPEGS)]
    lengths = [max(each.size) for each in directories.all() if _holds_sensor(each)]
    lengths.append(_exif_length(head))
    return _largest(_name(head), jpegs, max(lengths), head.number(tiff.ORIENTATION) or None)


def preview_of_panasonic(payload: bytes) -> Preview:
    """Find the preview in an RW2; raises InvalidInput."""
    head = tiff.first_directory(payload)
    length = max(head.number(_SENSOR_WIDTH), head.number(_SENSOR_HEIGHT))
    orientation = head.number(tiff.ORIENTATION) or None
    return _largest("RW2", [memoryview(head.content(_JPEG_FROM_RAW))], length, orientation)


def preview_of_fuji(payload: bytes) -> Preview:
    """Find the preview in a RAF; raises InvalidInput."""
    try:
        at, size, records, _ = struct.unpack_from(">4I", payload, 84)
        length = _fuji_length(payload, records)
    except struct.error:
        raise InvalidInput("the RAW file (RAF) is broken or cut short") from None
    return _largest("RAF", [memoryview(payload)[at : at + size]], length, None)


def refusal(name: str) -> InvalidInput:
    """Say that a RAW file can't be read."""
    return InvalidInput(
        f"a RAW file ({name}) without a preview of at least half its size that is read here: "
        "send the image as JPEG or TIFF"
    )


def _largest(
    name: str, jpegs: Iterable[memoryview], length: int, orientation: int | None
) -> Preview:
    """Copy the largest JPEG that is long enough for a picture of ``length`` pixels; 0: unknown."""
    longest, chosen = 0, memoryview(b"")
    for jpeg in jpegs:
        frame = _frame(jpeg)
        if frame is None:
            continue
        if frame.marker not in _SHOWN:
            # Canon's old format says no size of the sensor's values but here, told apart into
            # components that stand side by side.
            length = max(length, frame.height, frame.width * frame.components)
        elif max(frame.width, frame.height) > longest:
            longest, chosen = max(frame.width, frame.height), jpeg
    if not length or 2 * longest < length:
        raise refusal(name)
    return Preview(bytes(chosen), orientation)


def _holds_sensor(directory: Directory) -> bool:
    return directory.number(_PHOTOMETRIC) in _SENSORS


def _jpegs_of(directory: Directory) -> Iterator[slice]:
    """Find where the JPEGs of one directory are, each whole and in one piece."""
    places = [(_JPEG_OFFSET, _JPEG_LENGTH)]
    if directory.number(_COMPRESSION) in _JPEGS and not _holds_sensor(directory):
        places.append((_STRIP_OFFSETS, _STRIP_BYTE_COUNTS))
    for offsets, sizes in places:
        if len(directory.numbers(offsets)) == len(directory.numbers(sizes)) == 1:
            at = directory.number(offsets)
            yield slice(at, at + directory.number(sizes))


def _name(head: Directory) -> str:
    if _DNG_VERSION in head:
        return "DNG"
    maker = head.content(_MAKE).lower()
    return next((name for start, name in _NAMES.items() if maker.startswith(start)), "of a camera")


def _exif_length(head: Directory) -> int:
    """Read the longer side in pixels from the camera's own notes; 0: they don't say it."""
    exif = head.inside(_EXIF)
    return max(exif.number(_EXIF_WIDTH), exif.number(_EXIF_LENGTH)) if exif is not None else 0


def _frame(jpeg: memoryview) -> FrameHeader | None:
    """Find the head of a JPEG's frame; None where there is none."""
    if jpeg[:3].tobytes() != b"\xff\xd8\xff":
        return None
    try:
        return frame_header(jpeg[:_LONGEST_HEAD])
    except InvalidInput:
        return None


def _fuji_length(payload: bytes, records: int) -> int:
    """Measure the sensor's longer side in pixels; raises struct.error where the file is cut
    short.
    """
    (count,) = struct.unpack_from(">I", payload, records)
    at = records + 4
    for _ in range(min(count, 255)):
        tag, size = struct.unpack_from(">HH", payload, at)
        if tag == 0x100:  # RawImageFullSize, as ExifTool names it
            return int(max(struct.unpack_from(">HH", payload, at + 4)))
        at += 4 + size
    return 0
