"""A person's pose: 33 points in the picture and in space.

Constants and the order of steps: MediaPipe 0.10.21, graph pose_landmark_cpu with the full model.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hearth.batching import NO_CONTEXT, RequestContext
from hearth.families.mediapipe import detector
from hearth.families.mediapipe.detector import RegionDetector
from hearth.families.mediapipe.frame import Frame
from hearth.families.mediapipe.heatmap import refined
from hearth.families.mediapipe.logits import sigmoid
from hearth.families.mediapipe.region import Box, Points, Region, around
from hearth.families.mediapipe.roi import circle
from hearth.families.mediapipe.smoothing import Filters, OneEuro, Smoothing, smoothing
from hearth.families.mediapipe.stage import Input, Outputs, RegionView, StageOf

POINTS = 33

MIN_CONFIDENCE = 0.5
"""MediaPipe's min_detection_confidence and min_tracking_confidence."""

_ALL_POINTS = 39
"""Points that the model gives: a body's, two that say where to look next, and four unused ones."""
_NUMBERS = 5
"""Numbers of each point: x, y, z, and logits of visibility and presence."""
_SIDE = 256
"""Side of the landmark model's input, in pixels: its points are in that unit."""
_MARGIN = 1.25
"""Size of a body's region, in sizes of the circle around it (RectTransformation)."""


class Pose(NamedTuple):
    """A person in a picture."""

    points: Points
    """(33, 3): x, y and z in pixels; z is 0 amid the hips and grows away from the camera."""
    visibility: NDArray[np.float32]
    """(33,): 0 to 1, that a point is in the picture and not hidden."""
    presences: NDArray[np.float32]
    """(33,): 0 to 1, that a point is in the region looked at."""
    world_points: Points
    """(33, 3): metres from the middle of the hips, in the picture's directions."""
    confidence: float
    """0 to 1, that there is a person."""

    @property
    def box(self) -> Box:
        """Box of all points."""
        return around(self.points).box


class Followed(NamedTuple):
    """State that a video's next frame goes on from; never changed."""

    region: Region
    """Region where the person is."""
    guide: OneEuro
    """Filter of the two points that the region is made of; always, as MediaPipe does."""
    filters: Filters | None
    """None: nothing was smoothed in the frame before. They begin anew for whoever is found anew:
    MediaPipe means to do so too, but its filters of visibility and of metres don't hear of
    frames with nobody, and mix in who was there before."""


class WantedPose(NamedTuple):
    """Choice of the pose that is wanted, and how."""

    min_confidence: float = MIN_CONFIDENCE
    """Least confidence of the detector."""
    min_tracking_confidence: float = MIN_CONFIDENCE
    """Least presence of the pose, in every frame."""
    smooth: bool = True
    """True: smoothed in a video."""


ANY_POSE = WantedPose()


class _PoseRequest(NamedTuple):
    before: Followed | None
    moment: float | None
    wanted: WantedPose


class PoseFinder:
    """Finds the one person that stands out most."""

    def __init__(self, stage_of: StageOf) -> None:
        self._people = RegionDetector("pose_detection", detector.PERSON, stage_of)
        self._points = stage_of("pose_landmark_full", Input(_SIDE, _SIDE), _read)

    async def follow(
        self,
        frame: Frame,
        before: Followed | None = None,
        moment: float | None = None,
        wanted: WantedPose = ANY_POSE,
        context: RequestContext = NO_CONTEXT,
    ) -> tuple[Pose | None, Followed | None]:
        """Find the pose in a frame, and what the next frame of the same video goes on from.

        Looks where the person was in the frame before, and only searches the whole frame
        where there is nothing to go on from: so who is lost is missing for one frame at least.
        ``before`` is what the frame before has left, and ``moment`` when this one was taken, in
        seconds; both are None for a single picture. Raises ModelFailed, and what a batch queue
        raises.
        """
        region = before.region if before else await self._found(frame, wanted, context)
        if region is None:
            return None, None
        return await self._points.look(frame, region, _PoseRequest(before, moment, wanted), context)

    async def _found(
        self, frame: Frame, wanted: WantedPose, context: RequestContext
    ) -> Region | None:
        """Find where to look for the person that stands out most."""
        people = await self._people.find(frame, wanted.min_confidence, context)
        return _circle(people[0].keypoints).scaled(_MARGIN) if people else None


def _followed(
    pose: Pose, guides: Points, asked: _PoseRequest, moment: float
) -> tuple[Pose, Followed]:
    """Smooth the pose of a video's frame; return it with what to go on from.

    ``guides`` (2, 2) are the middle of the body, and a point of the circle around it.
    """
    before = asked.before
    scale = _circle(guides).width
    guide = before.guide if before else OneEuro(0.01, 10)
    calm, guide = guide.apply(guides, moment, scale)
    how = smoothing(before.filters if before else None, moment, asked.wanted.smooth)
    pose, filters = (pose, None) if how is None else _calmed(pose, how, scale)
    return pose, Followed(_circle(calm).scaled(_MARGIN), guide, filters)


def _calmed(pose: Pose, how: Smoothing, scale: float) -> tuple[Pose, Filters]:
    filters, moment = how
    points, of_points = filters.points.apply(pose.points, moment, scale)
    metres, of_metres = filters.metres.apply(pose.world_points, moment)
    visibility, of_visibility = filters.visibility.apply(pose.visibility)
    calm = pose._replace(points=points, world_points=metres, visibility=visibility)
    return calm, Filters(of_points, of_metres, of_visibility)


def _circle(guides: NDArray[np.floating]) -> Region:
    """Return the square around a body: of its middle, amid the hips, and a point straight above."""
    return circle(guides[0], guides[1], 90)


def _read(outputs: Outputs, view: RegionView[_PoseRequest]) -> tuple[Pose | None, Followed | None]:
    """Read the landmark model's answer for a region, if it is as sure of a person as is asked."""
    numbers, flag, _, heat, world = outputs
    confidence, asked = float(flag[0]), view.asked
    if confidence < asked.wanted.min_tracking_confidence:
        return None, None
    rows = numbers.reshape(_ALL_POINTS, _NUMBERS)
    shares = (rows[:, :3] / _SIDE).astype(np.float32)
    shares[:, :2] = refined(shares[:, :2], heat)
    placed = view.region.place(shares[: POINTS + 2])
    visibility, presences = sigmoid(rows[:POINTS, 3:].T)
    metres = view.region.turn(world.reshape(_ALL_POINTS, 3)[:POINTS])
    pose = Pose(placed[:POINTS], visibility, presences, metres, confidence)
    if asked.moment is None:
        return pose, None
    return _followed(pose, placed[POINTS:, :2], asked, asked.moment)
