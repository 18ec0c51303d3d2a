"""Irises: five points of each, the eye's contour and brow, and where it looks.

The mesh of a face tells where its eyes are; the iris model looks at each. Constants are those
of MediaPipe's iris_landmark module (IrisLandmarkLandmarksToRoi and IrisLandmarkCpu). The model
knows eyes whose outer corner is on the picture's left, which is the subject's right eye (the
module calls it the left one), so the other is shown to it mirrored. MediaPipe's iris graphs
don't smooth; its FaceLandmarker does, with irises as with all points of a face, and so do we.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hearth.batching import NO_CONTEXT, RequestContext
from hearth.families.mediapipe.frame import Frame
from hearth.families.mediapipe.gaze import Gaze, Side, gaze
from hearth.families.mediapipe.mesh import ONE_FACE, FaceMesh, TrackedFace, WantedMeshes
from hearth.families.mediapipe.region import Points, Region, around, of_box, rotation_of
from hearth.families.mediapipe.smoothing import Filters, Smoothing, smoothing
from hearth.families.mediapipe.stage import Input, Outputs, RegionView, StageOf

SIZE = 64
"""Side of the model's input, in pixels; its points are in pixels of that."""

CONTOUR, IRIS = 71, 5

CORNERS: dict[Side, tuple[int, int]] = {"right": (33, 133), "left": (263, 362)}
"""Points of the mesh: each eye's outer and inner corner."""

_MARGIN = 2.3
"""Length of the square that is looked at, in lengths of the eye (scale_x, scale_y)."""

_OUTER, _INNER = 0, 8
"""The eye's corners among the points of its contour."""

_UNMIRRORED = [0, 3, 2, 1, 4]
"""Points of an iris whose right and left were exchanged."""


class Eye(NamedTuple):
    """An eye; coordinates in pixels of the upright picture, z as in a mesh."""

    iris: Points
    """(5, 3): the centre, then the edge towards the subject's left, above, towards the
    subject's right, and below: the order of MediaPipe's points 468 to 472 and 473 to 477."""
    contour: Points
    """(71, 3): from the outer corner along the lower lid to the inner one (0 to 8), the upper
    lid (9 to 15), and lines around up to the brow, as in MediaPipe's model."""
    diameter: float
    """Diameter of the iris: the mean of its width and height (MediaPipe's IrisToDepthCalculator).
    """
    gaze: Gaze
    filters: Filters | None = None
    """Filters that smooth the next frame's points."""


class Eyes(NamedTuple):
    """A face and its eyes; right and left are the subject's."""

    face: TrackedFace
    right: Eye
    left: Eye

    def of(self, side: Side) -> Eye:
        """Return the eye of that side."""
        return self.right if side == "right" else self.left


SIDES: tuple[Side, Side] = ("right", "left")


class _EyeRequest(NamedTuple):
    side: Side
    face: TrackedFace
    smoothing: Smoothing | None


class IrisTracker:
    """Finds faces and looks at their eyes."""

    def __init__(self, mesh: FaceMesh, stage_of: StageOf) -> None:
        self._mesh = mesh
        self._stage = stage_of("iris_landmark", Input(SIZE, SIZE), _read)

    async def follow(
        self,
        frame: Frame,
        before: Sequence[Eyes] | None = None,
        moment: float | None = None,
        wanted: WantedMeshes = ONE_FACE,
        context: RequestContext = NO_CONTEXT,
    ) -> tuple[list[Eyes], Sequence[Eyes]]:
        """Find the eyes of the faces of ``FaceMesh.follow``; takes and gives what that does."""
        known = before or ()
        faces, _ = await self._mesh.follow(
            frame, [eyes.face for eyes in known], moment, wanted, context
        )
        asked = []
        for face in faces:
            past = None if face.follows is None else known[face.follows]
            for side in SIDES:
                filters = None if past is None else past.of(side).filters
                one = _EyeRequest(side, face, smoothing(filters, moment, wanted.smooth))
                asked.append((region_of(face.points, side), one))
        eyes = iter(await self._stage.look_all(frame, asked, context))
        found = [Eyes(face, right=next(eyes), left=next(eyes)) for face in faces]
        return found, found


def region_of(mesh: Points, side: Side) -> Region:
    """Tell where the iris model looks for an eye; a negative width mirrors what it sees."""
    corners = mesh[list(CORNERS[side])]
    # From the picture's left to its right.
    start, end = corners if side == "right" else corners[::-1]
    region = around(corners).square_long().scaled(_MARGIN)
    width = region.width if side == "right" else -region.width
    return region._replace(width=width, rotation=rotation_of(start, end, 0))


def _read(outputs: Outputs, view: RegionView[_EyeRequest]) -> Eye:
    """Read outputs (213,) and (15,): the contour's points and the iris', one after another."""
    side, face, calming = view.asked
    shares = np.concatenate([part.reshape(-1, 3) for part in outputs]) / np.float32(SIZE)
    points = view.region.place(shares)
    if side == "left":
        points[:, 2] *= -1  # it went with the width, which is negative
    filters = None
    if calming is not None:
        # How fast a point moves counts against the size of the whole face.
        scale = of_box(face.box).extent
        points, later = calming.filters.points.apply(points, calming.moment, scale)
        filters = Filters(later)
    contour, iris = points[:CONTOUR], points[CONTOUR:]
    if side == "left":
        iris = iris[_UNMIRRORED]
    diameter = _diameter(iris)
    looks = gaze(side, face.points, contour[[_OUTER, _INNER]], iris[0], diameter)
    return Eye(iris, contour, diameter, looks, filters)


def _diameter(iris: Points) -> float:
    left, above, right, below = (iris[at, :2].tolist() for at in (1, 2, 3, 4))
    return (math.dist(left, right) + math.dist(above, below)) / 2
