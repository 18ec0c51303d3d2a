"""Faces cut out of their picture and laid over ArcFace's template."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from hearth.errors import ModelFailed
from hearth.families.face import parameters as p
from hearth.families.face.faces import Box, Landmarks
from hearth.media.raw import Pixels

Matrix = NDArray[np.float64]
"""(2, 3): x' = m[0, 0]·x + m[0, 1]·y + m[0, 2], and y' of the second row."""

TEMPLATE = np.array(p.TEMPLATE, np.float64)

_LONGEST = 32_000
"""Pixels of a side that is cut from: OpenCV before 5 takes none of 32,767."""

_LEAST_SPREAD = 1e-9
"""Square pixels; below it, five points are one."""

_LEAST_FACTOR = 1e-7
"""Bound of the scale: a face a billion pixels wide; and points that are no face, however they are
turned."""


def similarity(points: NDArray[np.float64], target: NDArray[np.float64] = TEMPLATE) -> Matrix:
    """Find the turn, scale and shift that bring ``points`` (n, 2) nearest to ``target`` (n, 2).

    Nearest by the sum of squared distances, and never mirrored: Umeyama 1991, "Least-squares
    estimation of transformation parameters between two point patterns". In the plane, turn
    and scale are one complex factor, so the least squares have a closed form. Raises
    ModelFailed where there is none: the points are all in one place, or lie any which way.
    """
    if not _alignable(points, target):
        raise ModelFailed("the points of a face don't lie like a face: it can't be aligned")
    factor = complex(_factor(points, target))
    turn = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.column_stack([turn, target.mean(axis=0) - turn @ points.mean(axis=0)])


def alignable(faces: Sequence[Landmarks]) -> bool:
    """Tell whether all of these can be aligned."""
    points = np.array(faces, np.float64).reshape(-1, p.POINTS, 2)
    return bool(np.all(_alignable(points, TEMPLATE)))


def _alignable(points: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.bool_]:
    spread = (np.abs(_centred(points)) ** 2).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.abs(_factor(points, target))
    return np.asarray((spread > _LEAST_SPREAD) & (size > _LEAST_FACTOR))


def _factor(points: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Compute the turn and scale from points (…, n, 2) to ``target``, as complex numbers (…)."""
    centred = _centred(points)
    spread = (np.abs(centred) ** 2).sum(axis=-1)
    return np.asarray((centred.conj() * _centred(target)).sum(axis=-1) / spread)


def _centred(points: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Centre points (…, n, 2) about their middle, as complex numbers (…, n)."""
    centred = points - points.mean(axis=-2, keepdims=True)
    return np.asarray(centred[..., 0] + 1j * centred[..., 1])


def aligned(pixels: Pixels, landmarks: Landmarks) -> Pixels:
    """Cut out the face with these landmarks as ArcFace sees it: RGB (112, 112, 3).

    Sampled from the picture itself, bilinearly, and black beyond it, as insightface does: the
    vectors of others, who do the same, remain comparable. Raises ModelFailed as
    ``similarity``.
    """
    matrix = similarity(_points(landmarks))
    left, top, right, bottom = _reach(matrix)
    height, width = pixels.shape[:2]
    # Only what the face may show: coordinates stay small, and with them what rounding costs.
    left, right = max(left, 0), min(right, width)
    top, bottom = max(top, 0), min(bottom, height)
    if left >= right or top >= bottom:
        return np.zeros((p.SIDE, p.SIDE, 3), np.uint8)
    every = math.ceil(max(right - left, bottom - top) / _LONGEST)
    region = pixels[top:bottom:every, left:right:every]
    matrix[:, 2] += matrix[:, :2] @ (left, top)
    matrix[:, :2] *= every
    face: Pixels = cv2.warpAffine(
        region,
        matrix,
        (p.SIDE, p.SIDE),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(0, 0, 0),
    )
    return face


def resized(pixels: Pixels) -> Pixels:
    """Resize a picture that is an aligned face already to ArcFace's size."""
    if pixels.shape[:2] == (p.SIDE, p.SIDE):
        return pixels
    shrinks = pixels.shape[0] > p.SIDE
    face: Pixels = cv2.resize(
        pixels, (p.SIDE, p.SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    return face


def outline(landmarks: Landmarks, size: tuple[int, int]) -> Box:
    """Draw a box about a face of which only the landmarks are known: what is seen of it, aligned.

    Within the picture of this width and height. Raises ModelFailed as ``similarity``.
    """
    corners = np.clip(_corners(similarity(_points(landmarks))), 0, size).round(3)
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def _points(landmarks: Landmarks) -> NDArray[np.float64]:
    return np.array(landmarks, np.float64).reshape(p.POINTS, 2)


def _corners(matrix: Matrix) -> NDArray[np.float64]:
    """Find where the corners of the aligned face are in the picture, (4, 2)."""
    corners = np.array([(0, 0), (p.SIDE, 0), (0, p.SIDE), (p.SIDE, p.SIDE)], np.float64)
    return np.asarray(np.linalg.solve(matrix[:, :2], (corners - matrix[:, 2]).T).T)


def _reach(matrix: Matrix) -> tuple[int, int, int, int]:
    """Find which pixels make the aligned face: left, top, and one past right and bottom."""
    corners = _corners(matrix)
    least = np.floor(corners.min(axis=0)).astype(int) - 1
    most = np.ceil(corners.max(axis=0)).astype(int) + 2
    return int(least[0]), int(least[1]), int(most[0]), int(most[1])
