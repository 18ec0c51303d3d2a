"""A picture made to fit the rectangle that the detector looks at, and the way back."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from hearth.media.raw import Pixels


class Letterbox(NamedTuple):
    """Picture as the detector sees it: top left in the rectangle, black beyond."""

    pixels: Pixels
    """(height, width, 3) of the rectangle."""
    scale: tuple[float, float]
    """Pixels here for each of the picture's, along x and y. Equal but for whole pixels."""
    width: int
    """Width of the picture."""
    height: int

    def place(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert points (…, 2) of the rectangle to pixels of the picture."""
        return np.asarray(points / np.array(self.scale))


def letterbox(pixels: Pixels, width: int, height: int) -> Letterbox:
    """Put a picture of any size in a rectangle, its shape kept; small ones are enlarged.

    As insightface does: as large as it fits, whole pixels, bilinear. It divides both
    coordinates by the scale of the height on the way back; we take each axis by its own,
    which is right to the pixel for narrow pictures too.
    """
    high, wide = pixels.shape[:2]
    if high * width > height * wide:
        size = max(1, height * wide // high), height
    else:
        size = width, max(1, width * high // wide)
    box = np.zeros((height, width, 3), np.uint8)
    box[: size[1], : size[0]] = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
    return Letterbox(box, (size[0] / wide, size[1] / high), wide, high)
