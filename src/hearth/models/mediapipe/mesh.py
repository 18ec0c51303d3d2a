"""Meshes of faces: 468 points in three dimensions, followed from frame to frame.

What is done, and its constants, are those of MediaPipe 0.10.21's graph face_landmark_front_cpu
(``mp.solutions.face_mesh`` without refine_landmarks): faces are detected, a square half as
large again around each is looked at, and in a video the next square comes from the points;
the detector is asked again only while fewer faces are followed than are wanted. That graph
doesn't smooth; the filter here is that of MediaPipe's FaceLandmarker (tasks/cc/vision/
face_landmarker, face_landmarks_detector_graph: one-euro, 0.05, 80 and 1).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hearth.batching import NO_HURRY, Ticket
from hearth.models.mediapipe.detector import Detection
from hearth.models.mediapipe.faces import MIN_CONFIDENCE, FaceFinder, Range
from hearth.models.mediapipe.frame import Frame
from hearth.models.mediapipe.region import Points, Region, rotation_of
from hearth.models.mediapipe.smoothing import OneEuro
from hearth.models.mediapipe.stage import Cut, Input, Outputs, Stage, StageOf
from hearth.models.mediapipe.streams import Turn

POINTS = 468
SIZE = 192
"""Of the model's input, in pixels; its points are in pixels of that."""

MIN_PRESENCE = 0.5
"""MediaPipe's min_tracking_confidence: its graph's threshold on the face's presence."""

MOST_FACES = 16
"""That one request may ask for."""

RIGHT_EYE_OUTER, LEFT_EYE_OUTER = 33, 263
"""Points whose line tells how far a face is turned (rotation_vector_…_keypoint_index)."""

_MARGIN = 1.5
"""How much larger than the face the square is that is looked at (scale_x, scale_y)."""

_SAME = 0.5
"""Intersection over union from which two squares show one face (min_similarity_threshold)."""


Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""


class Smoothing(NamedTuple):
    """How points are smoothed: the filter as the frame before left it, and the moment."""

    filter: OneEuro
    moment: float
    """Of this frame, in seconds."""

    def apply(self, points: Points, face: Box) -> tuple[Points, OneEuro]:
        """Smoothed points, and the filter for the next frame; changes nothing.

        ``face`` is the box of the whole face: how fast a point moves counts against its size.
        """
        later = self.filter.copy()
        left, top, right, bottom = face
        return later.apply(points, self.moment, (right - left + bottom - top) / 2), later


def new_filter() -> OneEuro:
    """For a face that is seen for the first time."""
    return OneEuro(0.05, 80.0, 1.0)


class Face(NamedTuple):
    """A face; coordinates in pixels of the upright picture."""

    points: Points
    """(468, 3) in MediaPipe's order: x to the right, y down, and z away from the camera in
    pixels too, 0 about the middle of the head and less in front; smoothed if that was asked
    for."""
    presence: float
    """How sure it is that there is a face: 0 to 1."""
    box: Box
    """Of the points; may lie partly beyond the picture."""
    region: Region
    """Where the face is looked for in the next frame of a video."""
    filter: OneEuro | None = None
    """What the next frame's points are smoothed with."""
    follows: int | None = None
    """Which of the faces before it is, by its place there; None: it is new."""


class MeshTrack:
    """The faces followed in a video."""

    def __init__(self) -> None:
        self.faces: Sequence[Face] = ()


class Wanted(NamedTuple):
    """Which faces are wanted, and how."""

    max_faces: int = 1
    """1 or more."""
    min_confidence: float = MIN_CONFIDENCE
    """Of the detector."""
    min_presence: float = MIN_PRESENCE
    """Of a face's mesh, in every frame."""
    which: Range = "short"
    """The detector's range; MediaPipe's is short."""
    smooth: bool = True
    """In a video."""


NO_WISHES = Wanted()


class FaceMesh:
    """Finds the points of faces."""

    def __init__(self, faces: FaceFinder, stage_of: StageOf) -> None:
        self._faces = faces
        self._stage: Stage[Face] = stage_of("face_landmark", Input(SIZE, SIZE), _read)

    async def find(
        self,
        frame: Frame,
        turn: Turn[MeshTrack] | None = None,
        *,
        wanted: Wanted = NO_WISHES,
        ticket: Ticket = NO_HURRY,
    ) -> list[Face]:
        """The faces in a frame: those followed first, in their order, then new ones by confidence.

        Without a turn it is a single picture. Raises ModelFailed, and what a batch queue raises.
        """
        if turn is None:
            return await self.follow(frame, wanted=wanted, ticket=ticket)
        faces = await self.follow(
            frame, turn.track.faces, turn.moment, wanted=wanted, ticket=ticket
        )
        turn.track.faces = faces
        return faces

    async def follow(
        self,
        frame: Frame,
        before: Sequence[Face] = (),
        moment: float | None = None,
        *,
        wanted: Wanted = NO_WISHES,
        ticket: Ticket = NO_HURRY,
    ) -> list[Face]:
        """What ``find`` does, for those who keep the faces themselves.

        ``before`` is what this gave for the frame before of the same video, and ``moment``
        when this one was taken, in seconds (None: a single picture).
        """
        followed = range(min(len(before), wanted.max_faces))
        regions = [before[at].region for at in followed]
        sources: list[int | None] = [*followed]
        if len(regions) < wanted.max_faces:
            found = await self._faces.find(
                frame, which=wanted.which, min_confidence=wanted.min_confidence, ticket=ticket
            )
            regions += [region_of(face) for face in found[: wanted.max_faces]]
            sources += [None] * (len(regions) - len(sources))
        kept = _distinct(regions)[: wanted.max_faces]
        sources = [sources[at] for at in kept]
        smoothings = [
            None if moment is None or not wanted.smooth else Smoothing(
                (None if at is None else before[at].filter) or new_filter(), moment
            )
            for at in sources
        ]  # fmt: skip
        faces = await self.look(frame, [regions[at] for at in kept], smoothings, ticket=ticket)
        return [
            face._replace(follows=at)
            for face, at in zip(faces, sources, strict=True)
            if face.presence >= wanted.min_presence
        ]

    async def look(
        self,
        frame: Frame,
        regions: Sequence[Region],
        smoothings: Sequence[Smoothing | None] | None = None,
        *,
        ticket: Ticket = NO_HURRY,
    ) -> list[Face]:
        """What the model sees in each region, whether it is a face (``presence``) or not.

        A region is a square half as large again as the face, turned with it. Raises as
        ``find`` does.
        """
        return await self._stage.look_all(frame, regions, ticket, asked=smoothings)


def region_of(face: Detection) -> Region:
    """Where the mesh of a detected face is looked for: turned so that its eyes are level."""
    right_eye, left_eye = face.keypoints[:2]
    return _enlarged(face.region, rotation_of(right_eye, left_eye, 0))


def next_region(points: Points) -> Region:
    """Where the mesh is looked for in the next frame; ``points`` are (468, 2 or 3)."""
    return _next_region(points, _box(points))


def _next_region(points: Points, box: Box) -> Region:
    turned = rotation_of(points[RIGHT_EYE_OUTER], points[LEFT_EYE_OUTER], 0)
    left, top, right, bottom = box
    upright = Region((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
    return _enlarged(upright, turned)


def _box(points: Points) -> Box:
    # Column by column: four times as fast as along axis 0.
    x, y = points[:, 0], points[:, 1]
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def _enlarged(region: Region, rotation: float) -> Region:
    return region._replace(rotation=rotation).square_long().scaled(_MARGIN)


def _distinct(regions: Sequence[Region]) -> list[int]:
    """Those that show no face that one before them shows; by their places."""
    kept: list[int] = []
    for at, region in enumerate(regions):
        if all(_overlap(region, regions[other]) <= _SAME for other in kept):
            kept.append(at)
    return kept


def _overlap(one: Region, other: Region) -> float:
    """Intersection over union, as if neither were turned (AssociationNormRectCalculator)."""
    wide = min(one.x + one.width / 2, other.x + other.width / 2) - max(
        one.x - one.width / 2, other.x - other.width / 2
    )
    high = min(one.y + one.height / 2, other.y + other.height / 2) - max(
        one.y - one.height / 2, other.y - other.height / 2
    )
    common = max(wide, 0.0) * max(high, 0.0)
    union = one.width * one.height + other.width * other.height - common
    return common / union if union > 0 else 0.0


def _read(outputs: Outputs, cut: Cut) -> Face:
    """Outputs are (1, 1, 1404) and (1, 1, 1): the points one after another, and a logit."""
    numbers, logit = outputs
    points = cut.region.place(numbers.reshape(POINTS, 3) / np.float32(SIZE))
    presence = _sigmoid(float(logit.reshape(())))
    box = _box(points)
    region = _next_region(points, box)
    later = None
    if isinstance(cut.asked, Smoothing):
        points, later = cut.asked.apply(points, box)
        box = _box(points)
    return Face(points, presence, box, region, later)


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-max(-100.0, logit)))
