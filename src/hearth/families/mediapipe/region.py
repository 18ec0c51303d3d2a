"""Rectangles of a picture that a model looks at, and the way back from its answers.

All coordinates are pixels of the upright picture, x to the right and y down, where (0, 0)
is the top left corner of the first pixel.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hearth.media.raw import Pixels

Points = NDArray[np.float32]
"""(n, 2) or (n, 3): x, y and, where there is a third, z."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom; may lie partly beyond the picture."""


class Region(NamedTuple):
    """A rectangle, turned about its centre."""

    x: float
    """Horizontal place of the centre, in pixels."""
    y: float
    width: float
    height: float
    rotation: float = 0.0
    """Radians, clockwise on the screen: 0 is upright."""

    @property
    def box(self) -> Box:
        """Box of the region as if it weren't turned."""
        half, high = self.width / 2, self.height / 2
        return self.x - half, self.y - high, self.x + half, self.y + high

    @property
    def extent(self) -> float:
        """Mean of width and height, in pixels."""
        return (self.width + self.height) / 2

    def square_long(self) -> "Region":
        """Return a square as long as the longer side."""
        side = max(self.width, self.height)
        return self._replace(width=side, height=side)

    def scaled(self, factor: float) -> "Region":
        """Enlarge by a factor, about the same centre."""
        return self._replace(width=self.width * factor, height=self.height * factor)

    def shifted(self, x: float, y: float) -> "Region":
        """Move by shares of its own width and height, in its own directions."""
        along, down = self.width * x, self.height * y
        cos, sin = math.cos(self.rotation), math.sin(self.rotation)
        return self._replace(
            x=self.x + along * cos - down * sin, y=self.y + along * sin + down * cos
        )

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(2, 3): from shares of the region (0 to 1, from its top left) to pixels."""
        cos, sin = math.cos(self.rotation), math.sin(self.rotation)
        right = (self.width * cos, self.width * sin)
        down = (-self.height * sin, self.height * cos)
        corner = (
            self.x - (right[0] + down[0]) / 2,
            self.y - (right[1] + down[1]) / 2,
        )
        return np.array([[right[0], down[0], corner[0]], [right[1], down[1], corner[1]]])

    def place(self, points: NDArray[np.floating]) -> Points:
        """Convert points from shares of the region to pixels; z scales with the width."""
        matrix = self.matrix
        placed = np.empty(points.shape, np.float32)
        placed[:, :2] = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        if points.shape[1] > 2:
            placed[:, 2:] = points[:, 2:] * self.width
        return placed

    def turn(self, vectors: NDArray[np.floating]) -> Points:
        """Turn vectors (n, 3) from the region's directions to the picture's."""
        cos, sin = math.cos(self.rotation), math.sin(self.rotation)
        turned = np.array(vectors, np.float32)
        turned[:, 0] = vectors[:, 0] * cos - vectors[:, 1] * sin
        turned[:, 1] = vectors[:, 0] * sin + vectors[:, 1] * cos
        return turned


def whole(width: int, height: int, ratio: float | None = None) -> Region:
    """Return the whole picture; with ``ratio`` (width by height), padded to it evenly."""
    wide, high = float(width), float(height)
    if ratio is not None:
        if wide < high * ratio:
            wide = high * ratio
        else:
            high = wide / ratio
    return Region(width / 2, height / 2, wide, high)


def around(points: NDArray[np.floating]) -> Region:
    """Return the upright rectangle that just holds the points."""
    # Column by column: four times as fast as along axis 0.
    x, y = points[:, 0], points[:, 1]
    return of_box((float(x.min()), float(y.min()), float(x.max()), float(y.max())))


def of_box(box: Box) -> Region:
    """Return a box as a region."""
    left, top, right, bottom = box
    return Region((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)


def overlap(one: Region, other: Region) -> float:
    """Compute the intersection over union, as if neither were turned
    (AssociationNormRectCalculator).
    """
    left, top, right, bottom = one.box
    other_left, other_top, other_right, other_bottom = other.box
    wide = min(right, other_right) - max(left, other_left)
    high = min(bottom, other_bottom) - max(top, other_top)
    common = max(wide, 0.0) * max(high, 0.0)
    union = one.width * one.height + other.width * other.height - common
    return common / union if union > 0 else 0.0


def rotation_of(
    start: NDArray[np.floating], end: NDArray[np.floating], target_degrees: float
) -> float:
    """Tell how far a thing is turned whose ``start`` to ``end`` points to ``target_degrees``
    upright.

    Degrees count anticlockwise from the right, as MediaPipe's options give them; the answer
    is in radians, from -π to π.
    """
    target = math.radians(target_degrees)
    angle = target - math.atan2(-(float(end[1]) - float(start[1])), float(end[0]) - float(start[0]))
    return angle - 2 * math.pi * math.floor((angle + math.pi) / (2 * math.pi))


_POINT = 16
"""Bits behind the point of the coordinates that are added up."""
_STEPS = 5
"""Bits of them that count: MediaPipe's OpenCV (4) looks at 32nds of a pixel, newer ones exactly.
Its models make several pixels of that where they are unsure (a body's hidden legs)."""
_FARTHEST = 32_000
"""Pixels; what lies beyond doesn't fit into such coordinates."""


def cut(
    pixels: Pixels, region: Region, width: int, height: int, *, zero_border: bool = False
) -> Pixels:
    """Cut out a region, uint8 (height, width, 3).

    Bilinear, and to the 32nd of a pixel, as MediaPipe 0.10.21 turns images into tensors.
    Beyond the picture it is black with ``zero_border``, else the nearest pixel's colour.
    """
    import cv2  # heavy, and only wanted where models run

    border = cv2.BORDER_CONSTANT if zero_border else cv2.BORDER_REPLICATE
    shown: Pixels
    if not _is_near(region, pixels):
        back = region.matrix / np.array([width, height, 1.0])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        shown = cv2.warpAffine(pixels, back, (width, height), flags=flags, borderMode=border)
        return shown
    # Of the whole picture, every frame of a video and many a photograph asks for the same.
    maps = _maps_kept if region.rotation == 0 else _maps
    corners, between = maps(region, width, height)
    shown = cv2.remap(pixels, corners, between, cv2.INTER_LINEAR, borderMode=border)
    return shown


def _maps(region: Region, width: int, height: int) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    """Compute where each pixel of a crop lies in the picture, as cv2.remap has it.

    The pixel to its top left, (height, width, 2), and what it is away from that: rows of a
    table of 32 by 32 weights, (height, width).
    """
    x, y = _steps(region.matrix / np.array([width, height, 1.0]), width, height)
    corners = np.empty((height, width, 2), np.int16)
    np.right_shift(x, _STEPS, out=corners[..., 0], casting="unsafe")
    np.right_shift(y, _STEPS, out=corners[..., 1], casting="unsafe")
    part = (1 << _STEPS) - 1
    return corners, ((y & part) << _STEPS | (x & part)).astype(np.uint16)


_maps_kept = lru_cache(maxsize=16)(_maps)  # of up to 400 KB each


def _is_near(region: Region, pixels: Pixels) -> bool:
    reach = abs(region.width) + abs(region.height)
    farthest = max(abs(region.x), abs(region.y)) + reach
    return bool(max(farthest, *pixels.shape[:2]) < _FARTHEST)


def _steps(
    back: NDArray[np.float64], width: int, height: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return x and y of every pixel of a crop, (height, width), in 32nds of the picture's
    pixels.
    """
    fixed = back * (1 << _POINT)
    rounding = 1 << (_POINT - _STEPS - 1)
    along = np.rint(fixed[:, 0:1] * np.arange(width)).astype(np.int32)
    down = np.rint(fixed[:, 1:2] * np.arange(height) + fixed[:, 2:]).astype(np.int32) + rounding
    shift = _POINT - _STEPS
    x = (along[0] + down[0][:, None]) >> shift
    y = (along[1] + down[1][:, None]) >> shift
    return x, y
