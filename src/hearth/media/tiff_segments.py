"""The strips or tiles of a TIFF picture: which there are, and that none is missing."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hearth.errors import InvalidInput
from hearth.media import tiff
from hearth.media.tiff import Directory
from hearth.media.tiff_layout import NONE, Layout

# Tags of TIFF 6.0.
STRIP_OFFSETS, ROWS_PER_STRIP, STRIP_BYTE_COUNTS = 273, 278, 279
_TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_BYTE_COUNTS = 322, 323, 324, 325

_MOST_SEGMENTS = 250_000
"""Strips and tiles: those of 65,000 rows in three planes come to fewer, and take seconds."""


@dataclass(frozen=True, slots=True)
class Segments:
    """Strips or tiles of one picture, plane by plane, rows of them from the top."""

    height: int
    """Height of the picture, in pixels."""
    width: int
    """Width of a strip or tile, in pixels."""
    rows: int
    """Rows of a strip or tile; the last strip may have fewer."""
    is_tiled: bool
    across: int
    down: int
    count: int
    """Number of them in all planes."""
    row_bytes: int
    """Bytes of a row of one of them, uncompressed."""
    offsets: NDArray[Any]
    sizes: NDArray[Any]
    """Bytes in the file."""

    @property
    def size(self) -> int:
        """Bytes of one of them, uncompressed."""
        return self.row_bytes * self.rows

    def rows_of(self, number: int) -> int:
        """Count the rows that a strip or tile holds."""
        down = number % (self.across * self.down) // self.across
        return self.rows if self.is_tiled else min(self.rows, self.height - down * self.rows)


def segments_of(page: Directory, layout: Layout) -> Segments:
    """Find the strips or tiles of a picture; raises InvalidInput where some aren't there.

    Of what is uncompressed all pixels are there. Where sizes are missing, or too small for it, as
    some programs write them, one ends where the next begins.
    """
    is_tiled = _TILE_OFFSETS in page and STRIP_OFFSETS not in page
    if is_tiled:
        width, rows = page.number(_TILE_WIDTH), page.number(_TILE_LENGTH)
    else:
        width = layout.width
        rows = min(page.number(ROWS_PER_STRIP, layout.height) or layout.height, layout.height)
    if width <= 0 or rows <= 0:
        raise tiff.broken("its tiles have no size")
    across, down = -(-layout.width // width), -(-layout.height // rows)
    count = across * down * (layout.samples if layout.is_planar else 1)
    offsets = page.numbers(_TILE_OFFSETS if is_tiled else STRIP_OFFSETS)
    sizes = page.numbers(_TILE_BYTE_COUNTS if is_tiled else STRIP_BYTE_COUNTS)
    if max(count, len(offsets)) > _MOST_SEGMENTS:
        raise InvalidInput(
            f"the TIFF is in {max(count, len(offsets)):,} strips or tiles; at most "
            f"{_MOST_SEGMENTS:,} are read: send it in larger ones"
        )
    if len(offsets) < count:
        raise tiff.broken("its strips aren't all there")
    if len(sizes) < count:
        sizes = np.zeros(count, np.uint8)
    row_bytes = -(-width * (1 if layout.is_planar else layout.samples) * layout.bits // 8)
    segments = Segments(
        layout.height, width, rows, is_tiled, across, down, count, row_bytes,
        offsets[:count], sizes[:count],
    )  # fmt: skip
    return replace(segments, sizes=_sizes(segments, layout, len(page.payload)))


def _sizes(segments: Segments, layout: Layout, end: int) -> NDArray[np.float64]:
    """List each one's bytes in a file of ``end`` bytes; raises InvalidInput where pixels lack."""
    offsets = segments.offsets.astype(np.float64)  # exact as far as files are long
    ends = np.append(np.unique(offsets[offsets <= end]), end)
    following = ends[np.minimum(np.searchsorted(ends, offsets, side="right"), len(ends) - 1)]
    room = np.maximum(following - offsets, 0)
    sizes = segments.sizes.astype(np.float64)
    if layout.compression != NONE:
        return np.where(sizes == 0, room, sizes)
    rows = np.full(segments.count, segments.rows)
    if not segments.is_tiled:
        rows[segments.down - 1 :: segments.down] = segments.rows_of(segments.down - 1)
    needed = rows * float(segments.row_bytes)
    is_whole = (np.maximum(sizes, room) >= needed) & (offsets >= 0) & (offsets + needed <= end)
    if not is_whole.all():
        raise tiff.broken("its strips end too early")
    return needed
