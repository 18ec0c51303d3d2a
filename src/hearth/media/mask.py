"""Masks: how much of each pixel is in front, kept as small as a model gives it.

A mask is enlarged some rows at a time, so one of a large photograph takes no more memory than
that of a small one.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hearth.media.raw import Pixels
from hearth.media.strips import strips

Floats = NDArray[np.float32]

IN_FRONT = 0.5
"""Value above which a pixel counts as one in front, where nobody says otherwise."""


class SoftMask(NamedTuple):
    """A mask of a picture of ``width`` × ``height`` pixels."""

    small: Floats
    """(h, w) of any size; 1 is in front, 0 is not."""
    width: int
    height: int

    def rows(self, top: int, bottom: int) -> Floats:
        """Return rows of the mask, (bottom - top, width), at the picture's size."""
        return stretched(self.small, (self.width, self.height), top, bottom)

    def eight_bit(self, threshold: float | None = None) -> tuple[Pixels, float]:
        """Give the mask as uint8 (height, width), and which share of its pixels is in front.

        Soft, 0 to 255; with ``threshold`` (0 to 1) 255 where it is more than that, else 0.
        In front is what is more than the threshold, or than ``IN_FRONT``.
        """
        import cv2  # heavy, and only wanted where pictures are worked on

        whole = np.empty((self.height, self.width), np.uint8)
        in_front = 0
        for top, bottom in strips(self.width, self.height):
            rows = self.rows(top, bottom)
            front = rows > (IN_FRONT if threshold is None else threshold)
            in_front += int(np.count_nonzero(front))
            if threshold is None:
                whole[top:bottom] = cv2.convertScaleAbs(rows, alpha=255)
            else:
                np.multiply(front, np.uint8(255), out=whole[top:bottom])
        return whole, in_front / whole.size


def stretched(small: Floats, size: tuple[int, int], top: int, bottom: int) -> Floats:
    """Cut rows ``top`` to ``bottom`` out of ``small``, enlarged or reduced to ``size``.

    ``small`` is (h, w) or (h, w, c), and ``size`` width and height.
    Bilinear, with pixels' centres at halves and edges repeated: what cv2.resize gives with
    INTER_LINEAR, as MediaPipe 0.10.21's TensorsToSegmentationCalculator enlarges masks.
    """
    import cv2

    width, height = size
    high = small.shape[0]
    y = np.clip((np.arange(top, bottom) + 0.5) * (high / height) - 0.5, 0, high - 1)
    above = y.astype(np.intp)
    below = np.minimum(above + 1, high - 1)
    share = (y - above).astype(np.float32).reshape(-1, *(1 for _ in small.shape[1:]))
    rows = small[above]
    rows += (small[below] - rows) * share
    wide: Floats = cv2.resize(rows, (width, bottom - top), interpolation=cv2.INTER_LINEAR)
    return wide


def runs(mask: Pixels) -> NDArray[np.uint32]:
    """Count how many pixels of a kind follow each other, row by row from the top left.

    The kinds take turns, and the first is the background (0), of which there may be none: a
    0 comes first then. All of them add up to the number of pixels.
    """
    flat = mask.ravel() != 0
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    begin = [0, 0] if flat[0] else [0]
    return np.diff(np.concatenate([begin, edges, [flat.size]])).astype(np.uint32)
