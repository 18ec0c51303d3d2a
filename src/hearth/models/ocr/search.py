"""What a search for lines has found so far, and what is still to be looked at."""

import cv2
import numpy as np

from hearth.media.raw import Pixels
from hearth.models.ocr import parameters as p
from hearth.models.ocr.boxes import Box, Heat, boxes_of, fill, share_within
from hearth.models.ocr.cutting import cut, ink_of
from hearth.models.ocr.scales import Mask, View


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

    def take(self, view: View, heat: Heat, *, last: bool) -> Mask:
        """Keep the boxes that a view shows, and mark where it shows print that is too small.

        On the ``last`` view nothing is too small.
        """
        unread: Mask = np.zeros_like(self._covered)
        height, width = self._pixels.shape[:2]
        across, down = width / heat.shape[1], height / heat.shape[0]
        for box in (found.scaled(across, down) for found in boxes_of(heat)):
            place = self._place(box)
            if share_within(self._covered, place) > 0.5:
                continue
            if last or self._is_clear(box):
                self.boxes.append(box)
                fill(self._covered, place)
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

    def _is_clear(self, box: Box) -> bool:
        return box.thickness >= p.CLEAR and bands(cut(self._pixels, box.corners)) < 2

    def _place(self, box: Box) -> np.ndarray:
        """The box's corners in pixels of the overview."""
        down, across = np.array(self._covered.shape) / self._pixels.shape[:2]
        return (box.corners * (across, down)).astype(np.float32)


def bands(line: Pixels) -> int:
    """Count the lines of print that a cut-out line (height, width, 3) holds.

    Rows with ink, apart by rows without: marks above letters and lines under them are too
    thin or too faint to count.
    """
    rows = ink_of(line)
    full = rows > 0.35 * np.percentile(rows, 90)
    empty = rows < 0.04 * max(float(rows.max()), 1e-6)
    count, high = 0, 0
    was_apart = True
    for is_full, is_empty in zip(full, empty, strict=True):
        if is_empty:
            high, was_apart = 0, True
        elif is_full:
            high += 1
            if was_apart and high >= max(3, 0.15 * len(rows)):
                count, was_apart = count + 1, False
    return count
