"""Points made finer by maps of where each one is likely to be.

Formula and constants: MediaPipe 0.10.21, RefineLandmarksFromHeatmapCalculator.
"""

import numpy as np
from numpy.typing import NDArray

from hearth.families.mediapipe.logits import sigmoid

Floats = NDArray[np.float32]

_REACH = 4
"""Cells looked at on each side of a point's own: the calculator's default, kernel_size 9.

The graph pose_landmark_cpu says 7, and run by itself it is; but that option does not survive
the way through Python, so what ``mp.solutions`` answers is what 9 gives (measured: 0.01 pixels
from it on average, and with 7 up to 46).
"""

_LEAST = 0.5
"""The best cell's confidence from which a point is moved (min_confidence_to_refine)."""

_STEPS = np.arange(-_REACH, _REACH + 1)


def refined(points: Floats, heat: Floats) -> Floats:
    """Move points to the middle of the heat around them.

    ``points`` (n, 2): x and y as shares of the map (0 to 1); ``heat`` (h, w, n): logits, a map
    for each point. A point goes to the mean of the cells around its own, weighted by their
    confidence; it stays where it is outside the map, or where no cell is confident.
    """
    high, wide, count = heat.shape
    size = np.array([wide, high])
    # Towards zero, as C casts: what is less than one cell outside is still in the first.
    cells = np.trunc(points * size).astype(np.int64)
    columns, rows = (cells[:, axis, None] + _STEPS for axis in (0, 1))
    on_map = ((rows >= 0) & (rows < high))[:, :, None] & ((columns >= 0) & (columns < wide))[
        :, None
    ]
    logits = heat[
        np.clip(rows, 0, high - 1)[:, :, None],
        np.clip(columns, 0, wide - 1)[:, None],
        np.arange(count)[:, None, None],
    ]
    weights = on_map * sigmoid(logits).astype(np.float64)
    total = weights.sum(axis=(1, 2))
    inside = ((cells >= 0) & (cells < size)).all(axis=1)
    moves = inside & (weights.max(axis=(1, 2)) >= _LEAST)
    finer = points.copy()
    finer[moves, 0] = ((weights.sum(axis=1) * columns).sum(axis=1)[moves] / total[moves]) / wide
    finer[moves, 1] = ((weights.sum(axis=2) * rows).sum(axis=1)[moves] / total[moves]) / high
    return finer
