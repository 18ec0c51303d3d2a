"""Lines cut out of the original pixels, and laid flat."""

import cv2
import numpy as np

from hearth.media.raw import Pixels
from hearth.models.ocr import parameters as p
from hearth.models.ocr.page import Corners, resized

_UPRIGHT_RATIO = 1.5
"""A box so many times as high as wide holds a line that stands on its side; as in rapidocr."""

_LEVEL = 1.5
"""Pixels that a box's corners may be off the level for it to be cut without turning."""


def cut(pixels: Pixels, corners: Corners) -> Pixels:
    """Cut a line out of an RGB picture: BGR (height, width, 3), no higher than is read.

    Lines that stand on their sides are laid down. Raises nothing for boxes that reach over
    the picture's edges.
    """
    top, right, bottom, left = np.linalg.norm(corners - np.roll(corners, -1, axis=0), axis=1)
    width, height = max(top, bottom), max(left, right)
    stands = height >= _UPRIGHT_RATIO * width
    shrunk = max(1.0, float(width if stands else height) / p.REC_IMAGE_SHAPE[1])
    size = max(1, round(width / shrunk)), max(1, round(height / shrunk))
    line = _laid_flat(pixels, corners, shrunk, size)
    if stands:
        line = np.rot90(line)
    # rapidocr's models see blue first.
    return np.ascontiguousarray(line[..., ::-1])


def _laid_flat(pixels: Pixels, corners: Corners, shrunk: float, size: tuple[int, int]) -> Pixels:
    height, width = pixels.shape[:2]
    low, high = corners.min(axis=0), corners.max(axis=0)
    left, top = np.clip(np.floor(low), 0, (width - 1, height - 1)).astype(int)
    right, bottom = np.clip(np.ceil(high), (left + 1, top + 1), (width, height)).astype(int)
    around = pixels[top:bottom, left:right]
    rectangle = np.array([low, (high[0], low[1]), high, (low[0], high[1])])
    if np.abs(corners - rectangle).max() <= _LEVEL:
        return resized(around, *size) if shrunk > 1 else around
    across, down = size
    if shrunk > 1:
        # Averaged first: turning samples single pixels.
        wide, high_ = max(1, round((right - left) / shrunk)), max(1, round((bottom - top) / shrunk))
        around = resized(around, wide, high_)
    scale = np.array([around.shape[1] / (right - left), around.shape[0] / (bottom - top)])
    source = ((corners - (left, top)) * scale).astype(np.float32)
    target = np.array([(0, 0), (across, 0), (across, down), (0, down)], np.float32)
    flat: Pixels = cv2.warpPerspective(
        np.ascontiguousarray(around), cv2.getPerspectiveTransform(source, target), size,
        borderMode=cv2.BORDER_REPLICATE, flags=cv2.INTER_CUBIC,
    )  # fmt: skip
    return flat
