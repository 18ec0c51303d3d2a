"""Search for lines: those found so far, and the places still to be looked at."""

import cv2
import numpy as np

from hearth.families.ocr import parameters as p
from hearth.families.ocr.boxes import Box, Heat, boxes_of, fill, share_within
from hearth.families.ocr.cutting import around, cut, ink_of, length_to_height, narrowed
from hearth.families.ocr.page import Corners
from hearth.families.ocr.scales import Mask
from hearth.media.raw import Pixels

_STOUT = 6
"""Times that a box is longer than high, below which it may well hold a paragraph."""


class Search:
    """The lines found on a page, from coarse to close.

    ``pixels`` are the page's, RGB (height, width, 3); ``overview`` is the (height, width) of
    the masks.
    """

    def __init__(self, pixels: Pixels, overview: tuple[int, int]) -> None:
        self.boxes: list[Box] = []
        """Boxes in pixels of the page."""
        self._pixels = pixels
        self._covered: Mask = np.zeros(overview, np.uint8)

    def take(self, heat: Heat, *, least: float) -> Mask:
        """Keep the boxes that a map shows, and mark where it shows print that is too small.

        Boxes that are thinner than ``least`` pixels of the map are; those of several lines are,
        unless ``least`` is 0.
        """
        unread: Mask = np.zeros_like(self._covered)
        # What one map shows twice are neighbours: their boxes are loose, and overlap.
        known = self._covered.copy()
        height, width = self._pixels.shape[:2]
        across, down = width / heat.shape[1], height / heat.shape[0]
        for box in (found.scaled(across, down) for found in boxes_of(heat)):
            place = self._place(box)
            if share_within(known, place) > 0.5:
                continue
            if not least or (box.thickness >= least and self._is_one_line(box)):
                self.boxes.append(box)
                loose = p.LOOSE / 2 / max(box.thickness, 2 * p.LOOSE)
                fill(self._covered, narrowed(place, loose, 1 - loose))
            else:
                fill(unread, place)
        return unread

    def open(self, detail: Mask, heat: Heat | None, unread: Mask) -> Mask:
        """Mark where to look more closely: at detail that no line explains.

        Where there is a ``heat``, only near what it shows at least faintly.
        """
        unexplained = detail & ~cv2.dilate(self._covered, np.ones((3, 3), np.uint8)) & 1
        if heat is not None:
            faint = (heat > 255 * p.FAINT).astype(np.uint8)
            size = detail.shape[1], detail.shape[0]
            unexplained &= cv2.resize(faint, size, interpolation=cv2.INTER_AREA)
        wanted: Mask = cv2.morphologyEx(unexplained, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
        found: Mask = wanted | unread
        return found

    def _is_one_line(self, box: Box) -> bool:
        """Tell whether a box holds a line, and not several that flowed together."""
        ways = [box.corners]
        if length_to_height(box.corners) < _STOUT:
            # A paragraph's box may lean where its lines don't.
            ways.append(around(box.corners))
        # High enough for the gaps between the lines of a whole paragraph.
        return all(is_one_line(cut(self._pixels, way, 10 * p.REC_IMAGE_SHAPE[1])) for way in ways)

    def _place(self, box: Box) -> Corners:
        """Give the box's corners in pixels of the overview."""
        down, across = np.array(self._covered.shape) / self._pixels.shape[:2]
        return box.scaled(float(across), float(down)).corners


def is_one_line(line: Pixels) -> bool:
    """Tell whether a cut-out box (height, width, 3) holds one line of print, and not several.

    Lines are rows with ink, apart by rows without. Two of them must have a good part of
    the height each: a mark above letters or a rule below them is no line. Three are a
    paragraph, however many more it has.
    """
    rows = ink_of(line)
    full = rows > 0.35 * np.percentile(rows, 90)
    empty = rows < 0.04 * max(float(rows.max()), 1e-6)
    heights = [0]
    for is_full, is_empty in zip(full, empty, strict=True):
        if is_empty and heights[-1]:
            heights.append(0)
        heights[-1] += int(is_full)
    high = sum(height >= max(3, 0.15 * len(rows)) for height in heights)
    return high < 2 and sum(height >= 3 for height in heights) < 3
