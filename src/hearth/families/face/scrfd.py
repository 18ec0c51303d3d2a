"""SCRFD: from what its graph gives for pictures to the faces in them."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from hearth.backends import Array, Session
from hearth.errors import ModelFailed, ModelUnavailable
from hearth.families.face import parameters as p
from hearth.families.face.faces import DetectedFace, Kept, Wanted
from hearth.families.face.letterbox import Letterbox
from hearth.models.rows import BatchBuilder

_SCORE, _BOX, _KEYPOINTS = 1, 4, 2 * p.POINTS
"""Numbers that an anchor has of each."""

_WITH_KEYPOINTS = (9, 15)
_WITHOUT_KEYPOINTS = (6, 10)
"""Outputs of a graph with three levels, and with five."""


class DetectionInput(NamedTuple):
    """A picture on its way through detection."""

    seen: Letterbox
    wanted: Wanted
    kept: Kept | None = None
    """The picture itself, where it is wanted again."""


class DetectedFaces(NamedTuple):
    """Faces in a picture."""

    faces: tuple[DetectedFace, ...]
    """All that are sure enough for ``Wanted.least``, the surest first."""
    kept: Kept | None = None
    """The picture itself, where it is wanted again."""


class LevelOutputs(NamedTuple):
    """One level of a graph's answer for one picture, in pixels of the rectangle."""

    scores: NDArray[np.float32]
    """(n,)"""
    boxes: NDArray[np.float32]
    """(n, 4): how far left, up, right and down the box reaches from the anchor."""
    keypoints: NDArray[np.float32]
    """(n, 10): where the points are from the anchor."""
    centres: NDArray[np.float64]
    """(n, 2)"""
    stride: int
    """Unit of boxes and keypoints, in pixels of the rectangle."""


class FaceDetector:
    """Pictures to the faces in them.

    ``session`` takes pixels, uint8 (n, height, width, 3), and gives scores, boxes and
    keypoints for three levels or five, in any order: (anchors, 1 or 4 or 10), or the same
    with the pictures in front. Raises ModelUnavailable for any other session.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._stacker = BatchBuilder()
        _require(session)
        self._input = session.inputs[0].name
        _, height, width, _ = session.inputs[0].shape
        assert height and width
        self.height, self.width = height, width

    def __call__(self, views: Sequence[DetectionInput]) -> list[DetectedFaces | ModelFailed]:
        """Find the faces in each picture; a ModelFailed where the graph's numbers aren't finite."""
        # A graph of a fixed batch gets it filled up.
        sizes = self._session.batch_sizes.fixed
        size = next((size for size in sizes if size >= len(views)), len(views))
        batch, places = self._stacker.stack([view.seen.pixels for view in views], size)
        levels = levels_of(self._session.run({self._input: batch}), size, self.height, self.width)
        return [
            self._look(view, [level[place] for level in levels])
            for view, place in zip(views, places, strict=True)
        ]

    def _look(
        self, view: DetectionInput, levels: Sequence[LevelOutputs]
    ) -> DetectedFaces | ModelFailed:
        if not all(np.isfinite(part).all() for level in levels for part in level[:3]):
            return ModelFailed("the detection model gave numbers that aren't finite")
        return DetectedFaces(faces_of(levels, view.seen, view.wanted), view.kept)


def _require(session: Session) -> None:
    """See that a session is a detector; raises ModelUnavailable."""
    if len(session.inputs) != 1 or not session.inputs[0].is_pixels:
        taken = ", ".join(f"{spec.dtype} {spec.shape}" for spec in session.inputs)
        raise ModelUnavailable(f"the detection graph takes {taken}, not float32 (n, 3, h, w)")
    count = len(session.outputs)
    if count in _WITHOUT_KEYPOINTS:
        raise ModelUnavailable(
            "the detection graph gives no keypoints, which faces are aligned by: take one that "
            "does (its name often ends in _kps)"
        )
    if count not in _WITH_KEYPOINTS:
        raise ModelUnavailable(
            f"the detection graph has {count} outputs; SCRFD with keypoints has 9 or 15"
        )


def levels_of(
    outputs: Mapping[str, Array], pictures: int, height: int, width: int
) -> list[list[LevelOutputs]]:
    """Read a graph's outputs for a batch of rectangles: by level, and then by picture.

    Which output is which shows in its shape, for they come in any order: the last axis
    tells the kind, the number of anchors the level. Raises ModelFailed for anything else.
    """
    kinds: dict[int, list[Array]] = {_SCORE: [], _BOX: [], _KEYPOINTS: []}
    for name, array in outputs.items():
        kind = array.shape[-1] if array.ndim in (2, 3) else 0
        if kind not in kinds or array.size % (pictures * kind):
            raise ModelFailed(f"the detection model's output {name} has the shape {array.shape}")
        kinds[kind].append(np.asarray(array, np.float32).reshape(pictures, -1, kind))
    for arrays in kinds.values():
        arrays.sort(key=lambda array: -array.shape[1])
    shapes = {tuple(array.shape[1] for array in arrays) for arrays in kinds.values()}
    if len(shapes) != 1:
        raise ModelFailed("the detection model's outputs don't go together")
    return [
        _level(scores, boxes, keypoints, stride, (height, width))
        for scores, boxes, keypoints, stride in zip(*kinds.values(), p.STRIDES, strict=False)
    ]


def _level(
    scores: Array, boxes: Array, keypoints: Array, stride: int, size: tuple[int, int]
) -> list[LevelOutputs]:
    rows, columns = size[0] // stride, size[1] // stride
    for_each, rest = divmod(scores.shape[1], max(1, rows * columns))
    if rest or not for_each:
        raise ModelFailed(
            f"the detection model gave {scores.shape[1]} anchors for {rows}×{columns} places"
        )
    centres = anchor_centres(rows, columns, stride, for_each)
    return [
        LevelOutputs(of_scores[:, 0], of_boxes, of_keypoints, centres, stride)
        for of_scores, of_boxes, of_keypoints in zip(scores, boxes, keypoints, strict=True)
    ]


@lru_cache(maxsize=32)
def anchor_centres(rows: int, columns: int, stride: int, for_each: int) -> NDArray[np.float64]:
    """Find where the anchors of a level are, (rows · columns · for_each, 2): row by row, from (0,
    0).
    """
    down, right = np.mgrid[:rows, :columns]
    places = np.stack([right, down], axis=-1).reshape(-1, 2) * float(stride)
    return np.repeat(places, for_each, axis=0)


def faces_of(
    levels: Sequence[LevelOutputs], seen: Letterbox, wanted: Wanted
) -> tuple[DetectedFace, ...]:
    """Choose a picture's faces that are sure enough for ``wanted.least``, the surest first."""
    picked = [(level, np.flatnonzero(level.scores >= wanted.least)) for level in levels]
    scores = np.concatenate([level.scores[at] for level, at in picked]).astype(np.float64)
    boxes = np.concatenate([_boxes(level, at) for level, at in picked])
    keypoints = np.concatenate([_keypoints(level, at) for level, at in picked])
    surest = np.argsort(-scores, kind="stable")[: p.MOST_CANDIDATES]
    surest = surest[(boxes[surest, 2:] > boxes[surest, :2]).all(axis=1)]
    kept = surest[suppress(boxes[surest], wanted.nms_threshold, p.MOST_FACES)]
    return _faces(scores[kept], boxes[kept], keypoints[kept], seen)


def _boxes(level: LevelOutputs, at: NDArray[np.intp]) -> NDArray[np.float64]:
    """Place the boxes: left, top, right and bottom, (n, 4)."""
    reach = level.boxes[at].astype(np.float64) * level.stride
    centres = level.centres[at]
    return np.concatenate([centres - reach[:, :2], centres + reach[:, 2:]], axis=1)


def _keypoints(level: LevelOutputs, at: NDArray[np.intp]) -> NDArray[np.float64]:
    """Place the points, (n, 5, 2)"""
    offsets = level.keypoints[at].astype(np.float64).reshape(-1, p.POINTS, 2) * level.stride
    return np.asarray(level.centres[at][:, None] + offsets)


def suppress(boxes: NDArray[np.float64], threshold: float, most: int) -> list[int]:
    """Tell which boxes (n, 4), the surest first, share no more than ``threshold`` with a surer one.

    Shared is the intersection over the union. At most ``most``; a box that is left out
    keeps no other from staying.
    """
    sizes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    ranks = list(range(len(boxes), 0, -1))
    # Ten times as fast as numpy, which would do it box by box.
    kept = cv2.dnn.NMSBoxes(sizes.tolist(), ranks, 0.0, threshold)
    return [int(at) for at in kept[:most]]


def _faces(
    scores: NDArray[np.float64],
    boxes: NDArray[np.float64],
    keypoints: NDArray[np.float64],
    seen: Letterbox,
) -> tuple[DetectedFace, ...]:
    """Choose the faces of which something is in the picture."""
    # A thousandth of a pixel: what clients are told is what is aligned.
    corners = np.clip(seen.place(boxes.reshape(-1, 2, 2)), 0, (seen.width, seen.height)).round(3)
    landmarks = seen.place(keypoints).round(3)
    is_seen = (corners[:, 0] < corners[:, 1]).all(axis=1)
    rows = zip(
        corners[is_seen].reshape(-1, 4).tolist(),
        np.minimum(scores[is_seen].round(6), 1).tolist(),
        landmarks[is_seen].reshape(-1, 2 * p.POINTS).tolist(),
        strict=True,
    )
    return tuple(
        DetectedFace((left, top, right, bottom), score, tuple(points))
        for (left, top, right, bottom), score, points in rows
    )
