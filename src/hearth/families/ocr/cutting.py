"""Lines cut out of the original pixels, and laid flat."""

import cv2
import numpy as np
from numpy.typing import NDArray

from hearth.families.ocr import parameters as p
from hearth.families.ocr.page import Corners, resized
from hearth.media.raw import Pixels

_UPRIGHT_RATIO = 1.5
"""A box so many times as high as wide holds a line that stands on its side; as in rapidocr."""

_LEVEL = 1.5
"""Pixels that a box's corners may be off the level for it to be cut without turning."""


def cut(pixels: Pixels, corners: Corners, highest: int = p.REC_IMAGE_SHAPE[1]) -> Pixels:
    """Cut a line out of an RGB picture: BGR (height, width, 3), at most ``highest``.

    By default that is what is read.

    Lines that stand on their sides are laid down. Boxes may reach over the picture's edges.
    """
    width, height = _size(corners)
    stands = _stands(corners)
    shrunk = max(1.0, (width if stands else height) / highest)
    size = max(1, round(width / shrunk)), max(1, round(height / shrunk))
    line = _laid_flat(pixels, corners, shrunk, size)
    if stands:
        line = np.rot90(line)
    # rapidocr's models see blue first.
    return np.ascontiguousarray(line[..., ::-1])


def cut_tightly(pixels: Pixels, corners: Corners) -> Pixels:
    """Cut a line like ``cut``, no more than ``MOST_HEIGHT_OF_INK`` times as high as its ink."""
    line = cut(pixels, corners)
    rows = _own_rows(ink := ink_of(line))
    if not len(rows):
        return line
    first, last = rows[0] / len(ink), (rows[-1] + 1) / len(ink)
    share = max(0.5, p.MOST_HEIGHT_OF_INK * (last - first))
    if share > 0.95:
        return line
    above = min(max(0.0, (first + last - share) / 2), 1 - share)
    return cut(pixels, narrowed(corners, above, above + share))


def ink_of(line: Pixels) -> NDArray[np.float64]:
    """Tell the share of ink in each row of a line (height, width, 3): (height,), 0 to 1."""
    grey = cv2.cvtColor(line, cv2.COLOR_BGR2GRAY).astype(np.int16)
    ink = np.abs(grey - np.median(grey)) > max(25, 0.3 * float(np.ptp(grey)))
    rows: NDArray[np.float64] = ink.mean(axis=1)
    return rows


def _own_rows(ink: NDArray[np.float64]) -> NDArray[np.intp]:
    """Number the rows with much ink, but for those of the neighbours above and below.

    A box leaves room around its line: what reaches in from over its edge is another's.
    """
    rows = np.flatnonzero(ink > 0.15 * np.percentile(ink, 90))
    runs = np.split(rows, np.flatnonzero(np.diff(rows) > 2) + 1)
    own = [run for run in runs if len(run) and run[0] > 0 and run[-1] < len(ink) - 1]
    return np.concatenate(own) if own else rows


def narrowed(corners: Corners, first: float, last: float) -> Corners:
    """Take the part of a box between two shares of what is its line's height."""
    top_left, top_right, bottom_right, bottom_left = corners
    if _stands(corners):  # laid down, its right edge is on top
        across, along = top_left - top_right, bottom_left - bottom_right
        right = np.array([top_right + first * across, bottom_right + first * along])
        left = np.array([top_right + last * across, bottom_right + last * along])
        return np.array([left[0], right[0], right[1], left[1]], np.float32)
    down, beside = bottom_left - top_left, bottom_right - top_right
    return np.array([
        top_left + first * down, top_right + first * beside,
        top_right + last * beside, top_left + last * down,
    ], np.float32)  # fmt: skip


def around(corners: Corners) -> Corners:
    """Enclose corners in a level rectangle."""
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float32)


def length_to_height(corners: Corners) -> float:
    """Tell how many times as long as high a box's line is."""
    width, height = _size(corners)
    return height / max(width, 1) if _stands(corners) else width / max(height, 1)


def _size(corners: Corners) -> tuple[float, float]:
    top, right, bottom, left = np.linalg.norm(corners - np.roll(corners, -1, axis=0), axis=1)
    return max(float(top), float(bottom)), max(float(left), float(right))


def _stands(corners: Corners) -> bool:
    width, height = _size(corners)
    return height >= _UPRIGHT_RATIO * width


def _laid_flat(pixels: Pixels, corners: Corners, shrunk: float, size: tuple[int, int]) -> Pixels:
    height, width = pixels.shape[:2]
    low, high = corners.min(axis=0), corners.max(axis=0)
    left, top = np.clip(np.floor(low), 0, (width - 1, height - 1)).astype(int)
    right, bottom = np.clip(np.ceil(high), (left + 1, top + 1), (width, height)).astype(int)
    part = pixels[top:bottom, left:right]
    if np.abs(corners - around(corners)).max() <= _LEVEL:
        return resized(part, *size) if shrunk > 1 else part
    across, down = size
    if shrunk > 1:
        # Averaged first: turning samples single pixels.
        wide, high_ = max(1, round((right - left) / shrunk)), max(1, round((bottom - top) / shrunk))
        part = resized(part, wide, high_)
    scale = np.array([part.shape[1] / (right - left), part.shape[0] / (bottom - top)])
    source = ((corners - (left, top)) * scale).astype(np.float32)
    target = np.array([(0, 0), (across, 0), (across, down), (0, down)], np.float32)
    flat: Pixels = cv2.warpPerspective(
        np.ascontiguousarray(part), cv2.getPerspectiveTransform(source, target), size,
        borderMode=cv2.BORDER_REPLICATE, flags=cv2.INTER_CUBIC,
    )  # fmt: skip
    return flat
