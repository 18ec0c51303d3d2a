"""Meshes of faces: 468 points in three dimensions, followed from frame to frame.

What is done, and its constants, are those of MediaPipe 0.10.21's graph face_landmark_front_cpu
(``mp.solutions.face_mesh`` without refine_landmarks): faces are detected, a square half as
large again around each is looked at, and in a video the next square comes from the points;
the detector is asked again only while fewer faces are followed than are wanted. That graph
doesn't smooth; the filter here is that of MediaPipe's FaceLandmarker (tasks/cc/vision/
face_landmarker, face_landmarks_detector_graph: one-euro, 0.05, 80 and 1), which is a body's.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hearth.batching import NO_CONTEXT, RequestContext
from hearth.families.mediapipe.detector import Detection
from hearth.families.mediapipe.faces import MIN_CONFIDENCE, FaceFinder, Range, WantedFaces
from hearth.families.mediapipe.frame import Frame
from hearth.families.mediapipe.logits import sigmoid
from hearth.families.mediapipe.region import Box, Points, Region, around, overlap, rotation_of
from hearth.families.mediapipe.smoothing import Filters, Smoothing, smoothing
from hearth.families.mediapipe.stage import Input, Outputs, RegionView, StageOf

POINTS = 468
SIZE = 192
"""Side of the model's input, in pixels; its points are in pixels of that."""

MIN_TRACKING_CONFIDENCE = 0.5
"""MediaPipe's: its graph's threshold on the face's presence."""

MOST_FACES = 16
"""Largest number of faces that one request may ask for."""

RIGHT_EYE_OUTER, LEFT_EYE_OUTER = 33, 263
"""Points whose line tells how far a face is turned (rotation_vector_…_keypoint_index)."""

_MARGIN = 1.5
"""Size of the square that is looked at, in sizes of the face (scale_x, scale_y)."""

_SAME = 0.5
"""Intersection over union from which two squares show one face (min_similarity_threshold)."""


class TrackedFace(NamedTuple):
    """A face; coordinates in pixels of the upright picture."""

    points: Points
    """(468, 3) in MediaPipe's order: x to the right, y down, and z away from the camera in
    pixels too, 0 about the middle of the head and less in front; smoothed if that was asked
    for."""
    presence: float
    """Confidence that there is a face: 0 to 1."""
    box: Box
    """Box of the points."""
    region: Region
    """Region where the face is looked for in the next frame of a video."""
    seen: Points
    """The points as they were seen, before any smoothing."""
    filters: Filters | None = None
    """Filters that smooth the next frame's points."""
    follows: int | None = None
    """Place among the faces before of the one that it is; None: it is new."""


class WantedMeshes(NamedTuple):
    """Choice of the faces whose meshes are wanted, and how."""

    max_faces: int = 1
    """1 or more."""
    min_confidence: float = MIN_CONFIDENCE
    """Least confidence of the detector."""
    min_tracking_confidence: float = MIN_TRACKING_CONFIDENCE
    """Least presence of a face, in every frame."""
    range: Range = "short"
    """The detector's; MediaPipe's is short."""
    smooth: bool = True
    """True: smoothed in a video."""


ONE_FACE = WantedMeshes()


class FaceMesh:
    """Finds the points of faces."""

    def __init__(self, faces: FaceFinder, stage_of: StageOf) -> None:
        self._faces = faces
        self._stage = stage_of("face_landmark", Input(SIZE, SIZE), _read)

    async def follow(
        self,
        frame: Frame,
        before: Sequence[TrackedFace] | None = None,
        moment: float | None = None,
        wanted: WantedMeshes = ONE_FACE,
        context: RequestContext = NO_CONTEXT,
    ) -> tuple[list[TrackedFace], Sequence[TrackedFace]]:
        """Find the faces in a frame, and what the next frame of the same video goes on from.

        Those followed come first, in their order, then new ones by confidence. ``before`` is
        what the frame before has left, and ``moment`` when this one was taken, in seconds;
        both are None for a single picture. Raises ModelFailed, and what a batch queue raises.
        """
        followed = (before or ())[: wanted.max_faces]
        regions = [face.region for face in followed]
        if len(regions) < wanted.max_faces:
            boxes = WantedFaces(wanted.range, wanted.min_confidence)
            detections = await self._faces.find(frame, boxes, context)
            regions += [region_of(face) for face in detections[: wanted.max_faces]]
        kept = _distinct(regions)[: wanted.max_faces]
        sources = [at if at < len(followed) else None for at in kept]
        past = [None if at is None else followed[at].filters for at in sources]
        asked = [
            (regions[at], smoothing(filters, moment, wanted.smooth))
            for at, filters in zip(kept, past, strict=True)
        ]
        seen = await self.see(frame, asked, context)
        faces = [
            face._replace(follows=at)
            for face, at in zip(seen, sources, strict=True)
            if face.presence >= wanted.min_tracking_confidence
        ]
        return faces, faces

    async def see(
        self,
        frame: Frame,
        regions: Sequence[tuple[Region, Smoothing | None]],
        context: RequestContext = NO_CONTEXT,
    ) -> list[TrackedFace]:
        """Read the model in each region, whether it shows a face (``presence``) or not.

        A region is a square half as large again as the face, turned with it. Raises as
        ``follow`` does.
        """
        return await self._stage.look_all(frame, regions, context)


def region_of(face: Detection) -> Region:
    """Tell where the mesh of a detected face is looked for: turned so that its eyes are level."""
    right_eye, left_eye = face.keypoints[:2]
    return _enlarged(face.region, rotation_of(right_eye, left_eye, 0))


def _next_region(points: Points, upright: Region) -> Region:
    """Tell where the mesh is looked for in the next frame; ``upright`` just holds the points."""
    return _enlarged(upright, rotation_of(points[RIGHT_EYE_OUTER], points[LEFT_EYE_OUTER], 0))


def _enlarged(region: Region, rotation: float) -> Region:
    return region._replace(rotation=rotation).square_long().scaled(_MARGIN)


def _distinct(regions: Sequence[Region]) -> list[int]:
    """Choose, by their places, faces that no earlier one shows already."""
    kept: list[int] = []
    for at, region in enumerate(regions):
        if all(overlap(region, regions[other]) <= _SAME for other in kept):
            kept.append(at)
    return kept


def _read(outputs: Outputs, view: RegionView[Smoothing | None]) -> TrackedFace:
    """Read outputs (1, 1, 1404) and (1, 1, 1): the points one after another, and a logit."""
    numbers, logit = outputs
    seen = view.region.place(numbers.reshape(POINTS, 3) / np.float32(SIZE))
    presence = float(sigmoid(logit.reshape(())))
    upright = around(seen)
    region = _next_region(seen, upright)
    if view.asked is None:
        return TrackedFace(seen, presence, upright.box, region, seen)
    filters, moment = view.asked
    points, later = filters.points.apply(seen, moment, upright.extent)
    return TrackedFace(points, presence, around(points).box, region, seen, Filters(later))
