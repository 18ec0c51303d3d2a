"""Single-shot detectors (faces, palms, people): from their numbers to boxes with keypoints.

Constants and formulas are those of MediaPipe 0.10.21's graphs: SsdAnchorsCalculator,
TensorsToDetectionsCalculator and NonMaxSuppressionCalculator with weighted averages.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hearth.models.mediapipe.frame import Frame
from hearth.models.mediapipe.region import Points, Region, whole
from hearth.models.mediapipe.stage import Cut, Input, Outputs

Floats = NDArray[np.float32]

_MOST_LOGIT = 100.0
"""Where scores are clipped before the sigmoid (score_clipping_thresh)."""

_OVERLAP = 0.3
"""Intersection over union from which detections are the same thing (min_suppression_threshold)."""


class Detection(NamedTuple):
    """One thing that was found; coordinates in pixels of the upright picture."""

    box: tuple[float, float, float, float]
    """Left, top, right, bottom; may lie partly beyond the picture."""
    score: float
    """0 to 1."""
    keypoints: Points
    """(k, 2)"""

    @property
    def region(self) -> Region:
        """The box as a region."""
        left, top, right, bottom = self.box
        return Region((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)


class Anchors(NamedTuple):
    """Where a detector's answers stand: ``layers`` of (stride, answers a cell)."""

    size: int
    """Of the model's input, in pixels."""
    layers: tuple[tuple[int, int], ...]

    def centres(self) -> Floats:
        """(anchors, 2): x and y of each, as shares of the input."""
        parts = []
        for stride, each in self.layers:
            cells = -(-self.size // stride)
            steps = (np.arange(cells, dtype=np.float32) + 0.5) / cells
            y, x = np.meshgrid(steps, steps, indexing="ij")
            parts.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), each, axis=0))
        return np.concatenate(parts)


class DetectorReader:
    """Reads what a detector gives; its ``read`` is for a Stage, asked with the least score.

    Outputs are (anchors, 4 + 2 · keypoints) and (anchors, 1).
    """

    def __init__(self, anchors: Anchors, wants: Input) -> None:
        self.wants = wants
        self._centres = anchors.centres()
        self._scale = np.float32(1 / anchors.size)

    def region(self, frame: Frame) -> Region:
        """What the detector looks at: the whole frame, padded to the model's shape."""
        return whole(frame.width, frame.height, self.wants.width / self.wants.height)

    def read(self, outputs: Outputs, cut: Cut) -> list[Detection]:
        """The detections of at least the score ``cut.asked``, the best first."""
        regressors, logits = outputs
        least = float(cut.asked)
        scores = _sigmoid(np.clip(logits[:, 0], -_MOST_LOGIT, _MOST_LOGIT))
        good = np.flatnonzero(scores >= least)
        if not len(good):
            return []
        places = self._decoded(regressors[good], good)
        return [_placed(place, score, cut.region) for place, score in _merged(places, scores[good])]

    def _decoded(self, numbers: Floats, which: NDArray[np.intp]) -> Floats:
        """(n, 4 + 2 k): left, top, right, bottom and keypoints, as shares of the input."""
        values = numbers * self._scale
        centres = self._centres[which]
        half = values[:, 2:4] / 2
        middle = values[:, :2] + centres
        keypoints = values[:, 4:] + np.tile(centres, (1, (values.shape[1] - 4) // 2))
        return np.concatenate([middle - half, middle + half, keypoints], axis=1)


def _sigmoid(logits: Floats) -> Floats:
    # exp of no more than 100 stays within float64.
    scores: Floats = (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)
    return scores


def _merged(places: Floats, scores: Floats) -> Sequence[tuple[Floats, float]]:
    """Overlapping places as one: their mean, weighted by score; the best score is kept."""
    left = np.argsort(-scores, kind="stable")
    merged = []
    while len(left):
        overlaps = _overlaps(places[left[0]], places[left])
        overlaps[0] = 1.0  # also where a box is empty
        same = left[overlaps > _OVERLAP]
        weights = scores[same].astype(np.float64)
        mean = (weights @ places[same] / weights.sum()).astype(np.float32)
        merged.append((mean, float(scores[left[0]])))
        left = left[overlaps <= _OVERLAP]
    return merged


def _overlaps(one: Floats, many: Floats) -> Floats:
    """Intersection over union of boxes (left, top, right, bottom)."""
    near = np.maximum(one[:2], many[:, :2])
    far = np.minimum(one[2:4], many[:, 2:4])
    common = np.prod(np.maximum(far - near, 0), axis=1)
    areas = np.prod(many[:, 2:4] - many[:, :2], axis=1)
    union = areas + np.prod(one[2:4] - one[:2]) - common
    overlaps: Floats = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return overlaps


def _placed(place: Floats, score: float, region: Region) -> Detection:
    points = region.place(place.reshape(-1, 2))
    (left, top), (right, bottom) = points[0].tolist(), points[1].tolist()
    return Detection((left, top, right, bottom), score, points[2:])


FACE_SHORT = DetectorReader(
    Anchors(128, ((8, 2), (16, 6))), Input(128, 128, -1, 1, zero_border=True)
)
FACE_FULL = DetectorReader(Anchors(192, ((4, 1),)), Input(192, 192, -1, 1, zero_border=True))
PALM = DetectorReader(Anchors(192, ((8, 2), (16, 6))), Input(192, 192, 0, 1, zero_border=True))
PERSON = DetectorReader(
    Anchors(224, ((8, 2), (16, 2), (32, 6))), Input(224, 224, -1, 1, zero_border=True)
)
