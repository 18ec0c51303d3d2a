"""How closely a page is looked at, and where: from an overview to the smallest print.

The detection model finds print of some 6 to 300 pixels. An overview of a page is shrunk to a
number of pixels that is the same for every shape, so that it costs the same; where it has
detail that no line explains, the page is looked at twice as closely, and so on. What a closer look
shows is one map for the whole page: its tiles overlap, so a line is neither cut nor doubled at
their edges.
"""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from hearth.families.ocr import parameters as p
from hearth.families.ocr.page import resized
from hearth.media.raw import Pixels

Mask = NDArray[np.uint8]
"""0 or 1 for each pixel of the overview, (height, width)."""

_GRID = 32
"""Detection takes edges of a multiple of this many pixels."""


class ScaledPage(NamedTuple):
    """A page at one scale."""

    pixels: Pixels
    """RGB, (height, width, 3)."""
    scale: float
    """Pixels here for one of the page."""


class Tile(NamedTuple):
    """A part of a view that is looked at in one run, with what is around it."""

    part: tuple[slice, slice]
    """Rows and columns of the view that it answers for."""
    seen: tuple[slice, slice]
    """Rows and columns that the model gets to see: a margin more on every side."""


def overview_scale(width: int, height: int) -> float:
    """Choose the scale at which a page is looked at first: 1, or smaller.

    The page has ``OVERVIEW_PIXELS`` then, or is as long as may be, whatever it is wide.
    """
    by_area = float((p.OVERVIEW_PIXELS / (width * height)) ** 0.5)
    return min(1.0, by_area, p.LONGEST / max(width, height))


def view_at(pixels: Pixels, scale: float) -> ScaledPage:
    """Scale a page; edges have at least one pixel."""
    height, width = pixels.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return ScaledPage(resized(pixels, *size), scale)


def detail_of(pixels: Pixels, overview: ScaledPage) -> Mask:
    """Mark where a page has more to show than its overview does.

    There its pixels differ much from the overview's, over more than the thickness of a
    ruled line.
    """
    height, width = overview.pixels.shape[:2]
    if overview.scale == 1:  # nothing is lost
        return np.ones((height, width), np.uint8)
    coarse = cv2.cvtColor(overview.pixels, cv2.COLOR_RGB2GRAY)
    closer = cv2.cvtColor(view_at(pixels, min(1.0, 4 * overview.scale)).pixels, cv2.COLOR_RGB2GRAY)
    size = closer.shape[1], closer.shape[0]
    difference = cv2.absdiff(closer, cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR))
    lost = resized(difference, width, height) > p.DETAIL
    thick: Mask = cv2.morphologyEx(lost.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 4), np.uint8))
    return thick


def densest(mask: Mask, size: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    """Find where a mask has the most: rows and columns of samples of a page (height, width)."""
    height, width = size
    down, across = height / mask.shape[0], width / mask.shape[1]
    edge = max(1, round(p.SAMPLE / max(down, across)))
    density = cv2.boxFilter(mask.astype(np.float32), -1, (edge, edge))
    for _ in range(p.SAMPLES):
        if not density.any():
            return
        row, column = np.unravel_index(int(density.argmax()), density.shape)
        density[max(0, row - edge) : row + edge + 1, max(0, column - edge) : column + edge + 1] = 0
        top = max(0, min(int(row * down) - p.SAMPLE // 2, height - p.SAMPLE))
        left = max(0, min(int(column * across) - p.SAMPLE // 2, width - p.SAMPLE))
        yield slice(top, top + p.SAMPLE), slice(left, left + p.SAMPLE)


def tiles(view: ScaledPage, wanted: Mask) -> Iterator[Tile]:
    """Cut what is ``wanted`` of a view into tiles, each no larger than it must be."""
    height, width = view.pixels.shape[:2]
    down, across = height / wanted.shape[0], width / wanted.shape[1]
    # A strip of no more pixels than a tile is one.
    edge = p.TILE if height * width > p.TILE**2 else max(height, width)
    for top in range(0, height, edge):
        for left in range(0, width, edge):
            bottom, right = min(height, top + edge), min(width, left + edge)
            rows = slice(int(top / down), max(int(top / down) + 1, int(np.ceil(bottom / down))))
            columns = slice(
                int(left / across), max(int(left / across) + 1, int(np.ceil(right / across)))
            )
            where = np.argwhere(wanted[rows, columns])
            if not len(where):
                continue
            part = (
                _widened(down * (rows.start + where[:, 0].min()),
                         down * (rows.start + where[:, 0].max() + 1), top, bottom),
                _widened(across * (columns.start + where[:, 1].min()),
                         across * (columns.start + where[:, 1].max() + 1), left, right),
            )  # fmt: skip
            seen = (
                _widened(part[0].start, part[0].stop, 0, height),
                _widened(part[1].start, part[1].stop, 0, width),
            )
            yield Tile(part, seen)


def _widened(first: float, last: float, least: int, most: int) -> slice:
    """Widen a range by a margin on both sides, within bounds."""
    return slice(
        max(least, int(first) - p.TILE_MARGIN), min(most, int(np.ceil(last)) + p.TILE_MARGIN)
    )


def on_grid(pixels: Pixels) -> Pixels:
    """Extend a picture on its right and below to edges that the model takes."""
    height, width = pixels.shape[:2]
    below, right = -height % _GRID, -width % _GRID
    if not below and not right:
        return pixels
    extended: Pixels = cv2.copyMakeBorder(pixels, 0, below, 0, right, cv2.BORDER_REPLICATE)
    return extended
