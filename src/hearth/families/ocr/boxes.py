"""From a map of where text is to the boxes of lines: DB's second half, as rapidocr does it."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from hearth.families.ocr import parameters as p
from hearth.families.ocr.page import Corners

Heat = NDArray[np.uint8]
"""Confidence that each pixel belongs to the core of a line: (height, width), 0 to 255."""

_THINNEST = 3
"""Pixels that the core of a line has at least; two more once it is a box. As in rapidocr."""

_LEVEL = 1.25
"""Pixels of the map, from one end of a line to the other, that make no slope: turning costs
sharpness, and small print letters."""


class Box(NamedTuple):
    """A line's place."""

    corners: Corners
    """Corners in the pixels of the map, or of what it was scaled to."""
    thickness: float
    """The shorter side, in pixels of the map that it was found on."""

    def scaled(self, across: float, down: float) -> "Box":
        """Give the box in other pixels; its thickness stays what it was."""
        return self._replace(corners=(self.corners * (across, down)).astype(np.float32))


def boxes_of(heat: Heat) -> Iterator[Box]:
    """Find the boxes on a map, of which no more than ``DET_MAX_CANDIDATES`` are looked at."""
    core = cv2.dilate((heat > 255 * p.DET_THRESH).astype(np.uint8), np.ones((2, 2), np.uint8))
    contours, tree = cv2.findContours(core, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outer = [contour for contour, (*_, parent) in zip(contours, tree[0], strict=True)
             if parent < 0] if contours else []  # fmt: skip
    for contour in outer[: p.DET_MAX_CANDIDATES]:
        centre, (width, height), angle = cv2.minAreaRect(contour)
        if min(width, height) < _THINNEST:
            continue
        if _sureness(heat, cv2.boxPoints((centre, (width, height), angle))) < p.DET_BOX_THRESH:
            continue
        # The model marks the core of a line. What rapidocr grows around a rectangle has round
        # corners, and is made a rectangle again: it is wider by twice the distance.
        grown = p.DET_UNCLIP_RATIO * width * height / (width + height)
        size = width + grown, height + grown
        if min(size) < _THINNEST + 2:
            continue
        corners = _clockwise(cv2.boxPoints((centre, size, _levelled(angle, max(size)))))
        yield Box(np.clip(corners, 0, heat.shape[::-1]).astype(np.float32), min(size))


def _levelled(angle: float, length: float) -> float:
    """Measure the angle of a line of some pixels in degrees; level where they can't tell."""
    level = 90.0 * round(angle / 90)
    return level if abs(math.radians(angle - level)) * length < _LEVEL else angle


def in_reading_order(boxes: Sequence[Box]) -> list[Box]:
    """Sort boxes into rows from the top, and each row from the left.

    Boxes stand in one row where they share more than half of the lower one's height.
    """
    rows: list[list[Box]] = []
    top = bottom = 0.0
    for box in sorted(boxes, key=lambda box: float(box.corners[:, 1].mean())):
        upper, lower = float(box.corners[:, 1].min()), float(box.corners[:, 1].max())
        shared = min(bottom, lower) - max(top, upper)
        if rows and shared > min(lower - upper, bottom - top) / 2:
            rows[-1].append(box)
        else:
            rows.append([box])
            top, bottom = upper, lower
    return [
        box for row in rows for box in sorted(row, key=lambda box: float(box.corners[:, 0].min()))
    ]


def fill(mask: NDArray[np.uint8], corners: Corners) -> None:
    """Set a mask (height, width) to 1 within corners that are in its pixels."""
    cv2.fillConvexPoly(mask, np.rint(corners).astype(np.int32), 1)


def share_within(mask: NDArray[np.uint8], corners: Corners) -> float:
    """Compute the mean of a mask within corners that are in its pixels."""
    height, width = mask.shape
    left, top = np.clip(np.floor(corners.min(0)), 0, (width - 1, height - 1)).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(0)), 0, (width - 1, height - 1)).astype(int)
    inside = np.zeros((bottom - top + 1, right - left + 1), np.uint8)
    fill(inside, (corners - (left, top)).astype(np.float32))
    return float(cv2.mean(mask[top : bottom + 1, left : right + 1], inside)[0])


def _sureness(heat: Heat, corners: Corners) -> float:
    return share_within(heat, corners) / 255


def _clockwise(points: NDArray[np.float32]) -> Corners:
    """Order four points from the top left clockwise."""
    by_x = points[np.argsort(points[:, 0], kind="stable")]
    left, right = by_x[:2], by_x[2:]
    top_left, bottom_left = left[np.argsort(left[:, 1], kind="stable")]
    top_right, bottom_right = right[np.argsort(right[:, 1], kind="stable")]
    return np.array([top_left, top_right, bottom_right, bottom_left], np.float32)
