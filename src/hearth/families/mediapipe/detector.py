"""Single-shot detectors (faces, palms, people): from their numbers to boxes with keypoints.

Constants and formulas are those of MediaPipe 0.10.21's graphs: SsdAnchorsCalculator,
TensorsToDetectionsCalculator and NonMaxSuppressionCalculator with weighted averages.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hearth.batching import NO_CONTEXT, RequestContext
from hearth.families.mediapipe.frame import Frame
from hearth.families.mediapipe.logits import sigmoid
from hearth.families.mediapipe.region import Box, Points, Region, of_box, whole
from hearth.families.mediapipe.stage import Input, Outputs, RegionView, StageOf

Floats = NDArray[np.float32]

_OVERLAP = 0.3
"""Intersection over union from which detections are the same thing (min_suppression_threshold)."""


class Detection(NamedTuple):
    """One thing that was found; coordinates in pixels of the upright picture."""

    box: Box
    score: float
    """0 to 1."""
    keypoints: Points
    """(k, 2)"""

    @property
    def region(self) -> Region:
        """The box as a region."""
        return of_box(self.box)


class AnchorGrid(NamedTuple):
    """Grid that a detector's answers stand in: ``layers`` of (stride, answers a cell)."""

    size: int
    """Size of the model's input, in pixels."""
    layers: tuple[tuple[int, int], ...]

    def centres(self) -> Floats:
        """Place the anchors, (anchors, 2): x and y of each, as shares of the input."""
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

    def __init__(self, anchors: AnchorGrid, wants: Input) -> None:
        self.wants = wants
        self._centres = anchors.centres()
        self._scale = np.float32(1 / anchors.size)

    def region(self, frame: Frame) -> Region:
        """Return the region that the detector looks at: the whole frame, padded to the model's
        shape.
        """
        return whole(frame.width, frame.height, self.wants.width / self.wants.height)

    def read(self, outputs: Outputs, view: RegionView[float]) -> list[Detection]:
        """Read the detections of at least the score ``view.asked``, the best first."""
        regressors, logits = outputs
        # The calculator clips logits at ±100 first (score_clipping_thresh), to no effect here.
        scores = sigmoid(logits[:, 0])
        good = np.flatnonzero(scores >= view.asked)
        if not len(good):
            return []
        places = self._decoded(regressors[good], good)
        return [
            _placed(place, score, view.region) for place, score in _merged(places, scores[good])
        ]

    def _decoded(self, numbers: Floats, which: NDArray[np.intp]) -> Floats:
        """Decode the detector's numbers to (n, 4 + 2 k): left, top, right, bottom and keypoints, as
        shares of the input.
        """
        values = numbers * self._scale
        centres = self._centres[which]
        half = values[:, 2:4] / 2
        middle = values[:, :2] + centres
        keypoints = values[:, 4:] + np.tile(centres, (1, (values.shape[1] - 4) // 2))
        return np.concatenate([middle - half, middle + half, keypoints], axis=1)


class RegionDetector:
    """One detector, by the name of its model's file.

    It looks for what isn't followed yet, so it seldom runs: it has one interpreter, which
    spares 60 MB of 360 in all on two cores.
    """

    def __init__(self, name: str, reader: DetectorReader, stage_of: StageOf) -> None:
        self._reader = reader
        self._stage = stage_of(name, reader.wants, reader.read, alone=True)

    async def find(
        self,
        frame: Frame,
        least: float,
        context: RequestContext = NO_CONTEXT,
        *,
        within: Region | None = None,
    ) -> list[Detection]:
        """Find what is on a frame, or within a region, of at least this score; best first.

        Raises ModelFailed, and what a batch queue raises.
        """
        region = self._reader.region(frame) if within is None else within
        return await self._stage.look(frame, region, least, context)


def _merged(places: Floats, scores: Floats) -> Sequence[tuple[Floats, float]]:
    """Merge overlapping places into one: their mean, weighted by score; the best score is kept."""
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
    """Compute the intersection over union of boxes (left, top, right, bottom)."""
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
    AnchorGrid(128, ((8, 2), (16, 6))), Input(128, 128, -1, 1, zero_border=True)
)
FACE_FULL = DetectorReader(AnchorGrid(192, ((4, 1),)), Input(192, 192, -1, 1, zero_border=True))
PALM = DetectorReader(AnchorGrid(192, ((8, 2), (16, 6))), Input(192, 192, 0, 1, zero_border=True))
PERSON = DetectorReader(
    AnchorGrid(224, ((8, 2), (16, 2), (32, 6))), Input(224, 224, -1, 1, zero_border=True)
)
