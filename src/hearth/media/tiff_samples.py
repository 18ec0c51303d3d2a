"""TIFF pictures whose samples Pillow doesn't know or reads wrongly: read here, sample by sample.

That is whatever isn't plain: more than 8 bits, signed numbers and floats, planes one after
another, further channels. libtiff, inside Pillow, undoes the compression: it is handed all as
strips of bytes, and what the bytes mean is told here. Both take some megabytes at a time.
"""

import struct
from collections.abc import Iterator
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin

from hearth.media import tiff
from hearth.media.depth import scale_of, to_bytes
from hearth.media.raw import Pixels
from hearth.media.tiff import Directory
from hearth.media.tiff_layout import (
    ASSOCIATED,
    BITS,
    BLACK_IS_ZERO,
    CMYK,
    COLOURS,
    COMPRESSION,
    FLOAT,
    INT,
    NONE,
    PHOTOMETRIC,
    SAMPLES,
    UINT,
    UNASSOCIATED,
    WHITE_IS_ZERO,
    Layout,
    layout_of,
    unreadable,
)
from hearth.media.tiff_segments import (
    ROWS_PER_STRIP,
    STRIP_BYTE_COUNTS,
    STRIP_OFFSETS,
    segments_of,
)

# Tags of TIFF 6.0, and Adobe's for a colour profile.
_FILL_ORDER, _PREDICTOR, _PROFILE = 266, 317, 34675

_GROUP = 8 << 20
"""Bytes of samples that are worked on at a time."""
_GROUP_SEGMENTS = 4096
_LARGEST_SEGMENT = 512 << 20
"""Bytes of samples in one strip or tile, which has to be undone in one piece."""


class SampledTiff(ImageFile.ImageFile):
    """The first page of a TIFF file as an image of Pillow's: L, LA, RGB, RGBA or CMYK.

    Samples are scaled to 8 bits as ``depth`` says.
    """

    format = "TIFF"
    format_description = "TIFF, read sample by sample"

    def _open(self) -> None:
        assert self.fp is not None
        page = tiff.first_directory(self.fp.read())
        self._page: Directory | None = page
        self._layout = layout = layout_of(page)
        self._size = (layout.width, layout.height)
        self._mode = {1: "L", 3: "RGB", 4: "CMYK"}[COLOURS[layout.photometric]]
        if _has_alpha(layout):
            self._mode += "A"
        if _PROFILE in page:
            self.info["icc_profile"] = page.content(_PROFILE)
        self.tile = []

    def load(self) -> Any:
        """Decode the samples, once."""
        if self._page is not None:
            pixels = _Samples(self._page, self._layout).pixels()
            # Colours that were multiplied by their alpha: Pillow's names for them.
            mode = {"LA": "La", "RGBA": "RGBa"}.get(self._mode, self._mode)
            if self._layout.extra[:1] != (ASSOCIATED,):
                mode = self._mode
            image = Image.frombytes(mode, self.size, pixels)
            self.im = (image if mode == self._mode else image.convert(self._mode)).im
            self._page = None
        return super().load()


class _Block(NamedTuple):
    """Samples of a part of the picture."""

    top: int
    left: int
    plane: int
    """The first of the channels that ``values`` has."""
    values: NDArray[Any]
    """(height, width, channels)."""

    @property
    def end(self) -> int:
        """The first channel behind those that ``values`` has."""
        return self.plane + int(self.values.shape[2])


class _Samples:
    """The samples of one page."""

    def __init__(self, page: Directory, layout: Layout) -> None:
        self._page = page
        self._layout = layout
        self._segments = segments = segments_of(page, layout)
        if segments.size > _LARGEST_SEGMENT:
            raise unreadable(layout, f", in one piece of over {_LARGEST_SEGMENT >> 20} MiB")
        self._channels = 1 if layout.is_planar else layout.samples

    def pixels(self) -> Pixels:
        """Return (height, width, channels) uint8: the colours, and alpha where there is one."""
        layout = self._layout
        colours = COLOURS[layout.photometric]
        shown = colours + _has_alpha(layout)
        scales = [self._scale(slice(0, colours)), self._scale(slice(colours, shown))]
        out = np.empty((layout.height, layout.width, shown), np.uint8)
        for block in self._blocks():
            rows = slice(block.top, block.top + block.values.shape[0])
            columns = slice(block.left, block.left + block.values.shape[1])
            # Colours, and alpha, whose scale may be another.
            for (start, stop), scale in zip(((0, colours), (colours, shown)), scales, strict=True):
                channels = slice(max(start, block.plane), min(stop, block.end))
                if channels.start < channels.stop:
                    values = block.values[..., channels.start - block.plane :]
                    values = values[..., : channels.stop - channels.start]
                    out[rows, columns, channels] = to_bytes(values, scale)
        if layout.photometric == WHITE_IS_ZERO:
            np.subtract(255, out[..., 0], out=out[..., 0])
        return out

    def _scale(self, channels: slice) -> float:
        """Find the number that shows as white."""
        layout = self._layout
        if layout.format != FLOAT and layout.bits <= 16:
            return float(2 ** (layout.bits - (layout.format == INT)) - 1)
        values = (
            block.values[..., max(0, channels.start - block.plane) : channels.stop - block.plane]
            for block in self._blocks()
            if block.plane < channels.stop
        )
        return scale_of(values, is_float=layout.format == FLOAT)

    def _blocks(self) -> Iterator[_Block]:
        """Yield all of the picture, in parts."""
        layout, segments = self._layout, self._segments
        group = max(1, min(_GROUP_SEGMENTS, _GROUP // segments.size))
        per_plane = segments.across * segments.down
        for first in range(0, segments.count, group):
            numbers = range(first, min(first + group, segments.count))
            content, start = self._undone(numbers), 0
            for number in numbers:
                plane, place = divmod(number, per_plane)
                down, across = divmod(place, segments.across)
                top, left = down * segments.rows, across * segments.width
                rows = segments.rows_of(number)
                end = start + rows * segments.row_bytes
                values = self._values(content[start:end].reshape(rows, segments.row_bytes))
                values = values[: layout.height - top, : layout.width - left]
                for row in range(0, len(values), some := max(1, _GROUP // segments.row_bytes)):
                    yield _Block(top + row, left, plane, values[row : row + some])
                start = end

    def _undone(self, numbers: range) -> Pixels:
        """Unpack the bytes of these strips or tiles, one after another, uncompressed."""
        segments, compression = self._segments, self._layout.compression
        parts, rows = [], [segments.rows_of(number) for number in numbers]
        # No compression takes so much: strips that overlap are to fill no memory.
        most = 2 * segments.size + 1024
        payload = memoryview(self._page.payload)
        for number in numbers:
            at, size = int(segments.offsets[number]), min(int(segments.sizes[number]), most)
            parts.append(payload[at : at + size])
        fill_order = self._page.number(_FILL_ORDER, 1)
        if compression != NONE:
            return _decompressed(parts, rows, segments.row_bytes, compression, fill_order)
        content = np.frombuffer(parts[0] if len(parts) == 1 else b"".join(parts), np.uint8)
        if fill_order == 2:  # the first of 8 bits is the lowest
            content = np.packbits(np.unpackbits(content, bitorder="little"))
        return content

    def _values(self, rows: Pixels) -> NDArray[Any]:
        """Read bytes (rows, bytes of a row) as numbers (rows, width, channels)."""
        layout, predictor = self._layout, self._page.number(_PREDICTOR, 1)
        shape = (len(rows), self._segments.width, self._channels)
        if layout.bits not in (8, 16, 32, 64):
            if predictor != 1:
                raise unreadable(layout, ", as differences")
            return _unpacked(rows, layout.bits)[:, : shape[1] * shape[2]].reshape(shape)
        size = layout.bits // 8
        kind = {UINT: "u", INT: "i", FLOAT: "f"}[layout.format]
        # Differences were worth something to a compression alone.
        if predictor == 3 and layout.compression != NONE:
            # Adobe's TIFF technical note 3: the bytes of floats, the highest of all first.
            rows = np.cumsum(rows.reshape(len(rows), -1, self._channels), axis=1, dtype=np.uint8)
            planes = rows.reshape(len(rows), size, -1).swapaxes(1, 2)
            return np.ascontiguousarray(planes).view(f">{kind}{size}").reshape(shape)
        if predictor == 2 and layout.compression != NONE:
            whole = np.ascontiguousarray(rows).view(f"{self._page.order}u{size}").reshape(shape)
            summed = np.cumsum(whole, axis=1, dtype=f"u{size}")
            return summed.view(f"{kind}{size}")
        return rows.view(f"{self._page.order}{kind}{size}").reshape(shape)


def _has_alpha(layout: Layout) -> bool:
    """Tell whether the first channel behind the colours says how much of a pixel is there."""
    return layout.photometric != CMYK and layout.extra[:1] in ((ASSOCIATED,), (UNASSOCIATED,))


def _unpacked(rows: Pixels, bits: int) -> NDArray[np.uint16]:
    """Unpack numbers of ``bits`` (1 to 15) each, the highest bit first; rows begin with a byte."""
    count = rows.shape[1] * 8 // bits
    each = np.unpackbits(rows, axis=1)[:, : count * bits].reshape(len(rows), count, bits)
    wide = np.zeros((len(rows), count, 16), np.uint8)
    wide[..., 16 - bits :] = each
    return np.packbits(wide, axis=-1).view(">u2")[..., 0]


def _decompressed(
    parts: list[memoryview], rows: list[int], row_bytes: int, compression: int, fill_order: int
) -> Pixels:
    """Decompress strips of bytes as libtiff does, at most so many as their rows take."""
    # Only the last strip of a TIFF may be shorter than the others.
    last = next((at for at, count in enumerate(rows) if count != rows[0]), len(rows) - 1) + 1
    content = _strips(parts[:last], rows[:last], row_bytes, compression, fill_order)
    if last == len(rows):
        return content
    rest = _decompressed(parts[last:], rows[last:], row_bytes, compression, fill_order)
    return np.concatenate((content, rest))


def _strips(
    parts: list[memoryview], rows: list[int], row_bytes: int, compression: int, fill_order: int
) -> Pixels:
    """Write a grey TIFF of ``row_bytes`` × rows pixels, to be read by Pillow."""
    head = struct.calcsize("<2sHI")
    sizes = np.array([len(part) for part in parts], "<u4")
    offsets = (head + np.concatenate(([0], np.cumsum(sizes)[:-1]))).astype("<u4")
    body = b"".join(parts)
    tables = head + len(body)
    fields = {
        tiff.WIDTH: row_bytes, tiff.LENGTH: sum(rows), BITS: 8, COMPRESSION: compression,
        PHOTOMETRIC: BLACK_IS_ZERO, _FILL_ORDER: fill_order, STRIP_OFFSETS: tables,
        SAMPLES: 1, ROWS_PER_STRIP: rows[0], STRIP_BYTE_COUNTS: tables + offsets.nbytes,
    }  # fmt: skip
    if len(parts) == 1:  # a value that fits stands in its field
        fields |= {STRIP_OFFSETS: head, STRIP_BYTE_COUNTS: len(body)}
    lists = (STRIP_OFFSETS, STRIP_BYTE_COUNTS)
    directory = struct.pack("<H", len(fields)) + b"".join(
        struct.pack("<HHII", tag, 4, len(parts) if tag in lists else 1, value)
        for tag, value in fields.items()
    )
    at = tables + offsets.nbytes + sizes.nbytes
    file = b"".join((struct.pack("<2sHI", b"II", 42, at), body, offsets.tobytes(), sizes.tobytes(),
                     directory, bytes(4)))  # fmt: skip
    with _Bytes(BytesIO(file)) as image:
        return np.asarray(image).reshape(-1)


class _Bytes(TiffImagePlugin.TiffImageFile):
    """Bytes that aren't pixels: Pillow's limit for these isn't theirs, ``_LARGEST_SEGMENT`` is."""

    def load_prepare(self) -> None:
        """Make room for them."""
        if self._im is None:
            self.im = Image.new(self.mode, self.size).im
        super().load_prepare()
