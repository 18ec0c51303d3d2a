"""JPEG files walked segment by segment: ITU T.81, annex B.

Cameras put films behind a picture and megabytes of measurements in front of it. What stands in
a segment is skipped by the segment's length, and what stands behind the picture isn't looked at.
"""

import re
from typing import NamedTuple

import numpy as np

from hearth.errors import InvalidInput

MOST_SCANS = 100
"""Scans in one picture: encoders write about ten. Hundreds, each repeating all pixels, take
minutes."""

_MOST_SEGMENTS = 20_000
"""64 MB in segments as long as they can be are a thousand."""

_FIRST = 2
"""Place of the first segment: behind the marker that every JPEG begins with."""

_ALL = (1 << 64) - 1
"""All coefficients of a component, as bits."""

_CHUNK = 1 << 18
"""Bytes of coded data that are searched at once."""

# Markers: ITU T.81, table B.1.
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset((0xC2, 0xCA))
_TEM, _EOI, _SOS, _COM = 0x01, 0xD9, 0xDA, 0xFE
_WITHOUT_LENGTH = frozenset((_TEM, _EOI, *range(0xD0, 0xD8)))
"""Markers that stand alone: with those of restarts, which are of use in coded data only."""
_APP0, _APP1, _APP2, _APP14 = 0xE0, 0xE1, 0xE2, 0xEE
_TABLES = frozenset((0xC4, 0xCC, 0xDB, 0xDC, 0xDD))  # DHT, DAC, DQT, DNL, DRI
_SKIPPED = frozenset((_COM, *range(_APP0, 0xF0)))
_NEEDED = _SOF | _TABLES | {_APP0, _APP14}
"""Segments that pixels depend on. JFIF's and Adobe's (APP0, APP14) say what the colours are."""
_KNOWN = _NEEDED | _SKIPPED | {_SOS}

_SHORTEST = {_APP0: 18, _APP14: 16}
"""Bytes that libjpeg wants to see, to take them for JFIF's and Adobe's."""

_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_ICC = b"ICC_PROFILE\0"

_MARKER = re.compile(rb"\xff[^\0\xff]")

_FILLER = 16
"""Number of equal bytes that are hardly the end of coded data, but something that stands behind it.
"""


class Segment(NamedTuple):
    """A marker and what belongs to it, a scan with its coded data."""

    marker: int
    start: int
    end: int


class FrameHeader(NamedTuple):
    """The head of a frame: B.2.2."""

    marker: int
    """Marker of the way of coding: C0 to CF."""
    width: int
    height: int
    identifiers: bytes
    """Identifiers of the components, a byte each."""

    @property
    def components(self) -> int:
        """Number of channels."""
        return len(self.identifiers)


def frame_header(payload: bytes | memoryview) -> FrameHeader | None:
    """Find the head of a JPEG's first frame; None where none precedes the coded data.

    Raises InvalidInput for more segments than any file has.
    """
    for marker, start, end in _segments(payload, _FIRST, _MOST_SEGMENTS):
        if marker in _SOF:
            return _frame_header(marker, payload[start + 4 : end])
    return None


def _frame_header(marker: int, body: bytes | memoryview) -> FrameHeader | None:
    if len(body) < 6 or not body[5] or len(body) < 6 + 3 * body[5]:
        return None
    height, width = int.from_bytes(body[1:3]), int.from_bytes(body[3:5])
    return FrameHeader(marker, width, height, bytes(body[6 : 6 + 3 * body[5] : 3]))


class JpegFile:
    """The first picture of a JPEG: what its segments say of it, and where they stand.

    Raises InvalidInput for more scans than anybody needs, ValueError where there is no picture.
    """

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.width = self.height = 0
        self.components = 0
        """Number of channels: 1, 3 or 4."""
        self.has_multiple_scans = False
        """Whether decoders keep all coefficients in memory until the last scan has come."""
        self.has_end = False
        """Whether the end of the picture is marked."""
        self.exif = self.xmp = b""
        self._profile: list[tuple[int, Segment]] = []
        self._parts: list[Segment] = []
        """Parts that the picture is made of."""
        self._complete = 0
        """Number of ``_parts`` that hold each coefficient once; 0 where all of them don't."""
        self._missing: dict[int, int] = {}
        """Coefficients that no scan has held yet, as bits, by the component's identifier."""
        self._scans = 0
        self._is_progressive = False
        self._walk()
        if not self.width or not self.height or not self._scans:
            raise ValueError("there is no picture in the JPEG")

    @property
    def profile(self) -> bytes:
        """ICC profile; empty where there is none."""
        parts = (part for _, part in sorted(self._profile))
        return b"".join(self.payload[part.start + 18 : part.end] for part in parts)

    @property
    def is_complete(self) -> bool:
        """Whether scans hold the whole picture, as far as they tell."""
        return self.has_end or self._complete > 0

    def size(self, scale: int) -> tuple[int, int]:
        """Return width and height, ``scale`` times smaller."""
        return -(-self.width // scale), -(-self.height // scale)

    def minimal(self) -> bytes:
        """Write the picture with an end, and without all that its pixels don't need."""
        return self._joined(self._parts if self.has_end else self._parts[: self._complete])

    def up_to_complete(self) -> bytes:
        """Write the same without anything behind the scan that completes the picture."""
        return self._joined(self._parts[: self._complete or None])

    def without_film(self) -> bytes | None:
        """Write the picture less the film in its coded data; None where there is none.

        Where nobody marked the end of coded data, all up to the next marker looks like it.
        """
        scan = self._last_scan
        start = self.payload.find(b"ftyp", scan.start, scan.end) - 4
        return self._ending_at(start) if start > scan.start else None

    def without_filler(self) -> bytes | None:
        """Write the picture less the equal bytes, such as zeros, that its coded data ends with."""
        scan = self._last_scan
        data = np.frombuffer(self.payload, np.uint8)[scan.start : scan.end]
        # The first of them may be the data's last byte: white pages end with 00.
        start = scan.start + int(np.flatnonzero(data != data[-1])[-1]) + 2
        return self._ending_at(start) if scan.end - start >= _FILLER else None

    @property
    def _last_scan(self) -> Segment:
        return [part for part in self._parts[: self._complete or None] if part.marker == _SOS][-1]

    def _ending_at(self, end: int) -> bytes:
        scan = self._last_scan
        parts = self._parts[: self._parts.index(scan)]
        return self._joined([*parts, scan._replace(end=end)])

    def _joined(self, parts: list[Segment]) -> bytes:
        view = memoryview(self.payload)
        return b"".join((b"\xff\xd8", *(view[start:end] for _, start, end in parts), b"\xff\xd9"))

    def _walk(self) -> None:
        """Read the segments, as far as they belong to the picture."""
        at, left = _FIRST, _MOST_SEGMENTS
        while True:
            segments = _segments(self.payload, at, left)
            left -= len(segments)
            marker = _EOI
            for segment in segments:
                marker, start, at = segment
                if marker == _SOS:
                    if not self._read_scan(segment):
                        return
                elif marker == _EOI:
                    self.has_end = True
                elif marker not in _NEEDED or at - start < _SHORTEST.get(marker, 0):
                    self._read_metadata(segment)
                else:
                    if marker in _SOF:
                        frame = _frame_header(marker, self.payload[start + 4 : at])
                        if self._missing or frame is None:
                            return
                        self.width, self.height = frame.width, frame.height
                        self.components = len(frame.identifiers)
                        self._missing = dict.fromkeys(frame.identifiers, _ALL)
                        self._is_progressive = marker in _PROGRESSIVE
                        self.has_multiple_scans = self._is_progressive
                    self._parts.append(segment)
            if marker != _SOS:
                return

    def _read_scan(self, segment: Segment) -> bool:
        """Read the head of a scan (B.2.3); False where it is none."""
        self._scans += 1
        if self._scans > MOST_SCANS:
            raise InvalidInput(
                f"the JPEG has {self._scans} scans or more; at most {MOST_SCANS} are decoded"
            )
        body = self.payload[segment.start + 4 : segment.start + 18]
        missing, count = self._missing, body[0] if body else 0
        names = body[1 : 1 + 2 * count : 2]
        if not 1 <= count <= 4 or len(body) < 4 + 2 * count or not missing.keys() >= {*names}:
            return False
        first, last, precision = body[1 + 2 * count : 4 + 2 * count]
        if not self._is_progressive:
            held = _ALL
        elif precision & 15:
            held = 0  # its lowest bits come later: G.1.1.1.1
        else:
            held = (2 << min(last, 63)) - (1 << min(first, 63))
        for name in names:
            missing[name] &= ~held
        if self._scans == 1 and count < self.components:
            self.has_multiple_scans = True
        self._parts.append(segment)
        if not self._complete and not any(missing.values()):
            self._complete = len(self._parts)
        return True

    def _read_metadata(self, segment: Segment) -> None:
        marker, start, end = segment
        view = memoryview(self.payload)[start + 4 : end]
        if marker == _APP1 and not self.exif and view[:6] == _EXIF:
            self.exif = bytes(view)
        elif marker == _APP1 and not self.xmp and view[: len(_XMP)] == _XMP:
            self.xmp = bytes(view[len(_XMP) :])
        elif marker == _APP2 and view[:12] == _ICC and len(view) > 14:
            self._profile.append((view[12], segment))


def _segments(payload: bytes | memoryview, at: int, most: int) -> list[Segment]:
    """List the segments from ``at`` on, up to and with the next scan or the end of the picture.

    Less where something is none; libjpeg ends there as well. Raises InvalidInput for more than
    ``most`` of them.
    """
    segments: list[Segment] = []
    for _ in range(most):
        # What stands before a marker is passed over.
        found = _MARKER.search(payload, at)
        if found is None:
            return segments
        start = found.start()
        marker = payload[start + 1]
        at = start + 2
        if marker in _WITHOUT_LENGTH:
            segments.append(Segment(marker, start, at))
            if marker == _EOI:
                return segments
            continue
        length = int.from_bytes(payload[at : at + 2])
        if marker in _SKIPPED and length < 2:
            length = 2  # as libjpeg takes it
        at += length
        if length < 2 or at > len(payload) or marker not in _KNOWN:
            return segments
        if marker == _SOS:
            if length == 6 + 2 * payload[start + 4]:
                segments.append(Segment(marker, start, _end_of_data(payload, at)))
            return segments
        segments.append(Segment(marker, start, at))
    raise InvalidInput(f"the JPEG has more than {_MOST_SEGMENTS:,} segments")


def _end_of_data(payload: bytes | memoryview, start: int) -> int:
    """Find the end of the coded data that begins at ``start``: a marker, or the file's end.

    FF is followed there by 00, or makes a restart marker: B.1.1.5. As everywhere, any number
    of FF may precede a marker; they are left with the data, where they do no harm.
    """
    everything = np.frombuffer(payload, np.uint8)
    while start < len(payload) - 1:
        following = everything[start + 1 : start + 1 + _CHUNK]
        marks = (everything[start : start + len(following)] == 0xFF) & (following != 0)
        # Few chunks have any; a regular expression takes twenty times as long.
        if marks.any():
            places = np.flatnonzero(marks)
            codes = following[places]
            markers = places[(codes != 0xFF) & (codes & 0xF8 != 0xD0)]
            if len(markers):
                return start + int(markers[0])
        start += len(following)
    return len(payload)
