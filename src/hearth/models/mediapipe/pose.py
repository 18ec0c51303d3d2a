"""A person's pose: 33 points in the picture and in space.

Constants and the order of steps: MediaPipe 0.10.21, graph pose_landmark_cpu with the full model.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hearth.batching import NO_HURRY, Ticket
from hearth.models.mediapipe import detector
from hearth.models.mediapipe.detector import Detection
from hearth.models.mediapipe.frame import Frame
from hearth.models.mediapipe.heatmap import refined
from hearth.models.mediapipe.region import Points, Region
from hearth.models.mediapipe.roi import circle
from hearth.models.mediapipe.smoothing import LowPass, OneEuro, for_metres, for_points
from hearth.models.mediapipe.stage import Cut, Input, Outputs, Stage, StageOf
from hearth.models.mediapipe.streams import Turn

POINTS = 33

MIN_CONFIDENCE = 0.5
"""MediaPipe's min_detection_confidence and min_tracking_confidence."""

_ALL_POINTS = 39
"""What the model gives: a body's, two that say where to look next, and four unused ones."""
_NUMBERS = 5
"""Of each: x, y, z, and logits of visibility and presence."""
_SIDE = 256
"""Of the landmark model's input, in pixels: its points are in that unit."""
_MARGIN = 1.25
"""How much larger than the circle around a body its region is (RectTransformation)."""


class Pose(NamedTuple):
    """A person in a picture."""

    points: Points
    """(33, 3): x, y and z in pixels; z is 0 amid the hips and grows away from the camera."""
    visibility: NDArray[np.float32]
    """(33,): 0 to 1, that a point is in the picture and not hidden."""
    presence: NDArray[np.float32]
    """(33,): 0 to 1, that a point is in the region looked at."""
    world: Points
    """(33, 3): metres from the middle of the hips, in the picture's directions."""
    confidence: float
    """0 to 1, that there is a person."""

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of all points; may lie partly beyond the picture."""
        (left, top), (right, bottom) = (
            edge(axis=0).tolist() for edge in (self.points[:, :2].min, self.points[:, :2].max)
        )
        return left, top, right, bottom


class Calm(NamedTuple):
    """What smooths a pose in a video.

    It begins anew for whoever is found anew. MediaPipe means to do so too, but its filters of
    visibility and of metres don't hear of frames with nobody, and mix in who was there before.
    """

    points: OneEuro
    world: OneEuro
    visibility: LowPass

    @classmethod
    def anew(cls) -> "Calm":
        """With nothing before it (PoseLandmarkFiltering)."""
        return cls(for_points(), for_metres(), LowPass(0.1))

    def smoothed(self, pose: Pose, moment: float, scale: float) -> "tuple[Pose, Calm]":
        """A pose, calmer, and what to smooth the next one with; ``scale`` is in pixels."""
        calm = Calm(self.points.copy(), self.world.copy(), self.visibility.copy())
        return pose._replace(
            points=calm.points.apply(pose.points, moment, scale),
            world=calm.world.apply(pose.world, moment),
            visibility=calm.visibility.apply(pose.visibility),
        ), calm


class Followed(NamedTuple):
    """What a video's next frame goes on from; never changed."""

    region: Region
    """Where the person is."""
    guide: OneEuro
    """Smooths the two points that the region is made of; always, as MediaPipe does."""
    calm: Calm | None
    """None: nothing was smoothed in the frame before."""


class PoseTrack:
    """The person followed through a video."""

    def __init__(self) -> None:
        self.before: Followed | None = None


class _Seen(NamedTuple):
    """What the landmark model sees in a region."""

    pose: Pose
    guides: Points
    """(2, 2): the middle of the body, and a point of the circle around it."""


class PoseFinder:
    """Finds the one person that stands out most."""

    def __init__(self, stage_of: StageOf) -> None:
        self._people: Stage[list[Detection]] = stage_of(
            "pose_detection", detector.PERSON.wants, detector.PERSON.read
        )
        self._points: Stage[_Seen | None] = stage_of(
            "pose_landmark_full", Input(_SIDE, _SIDE), _read
        )

    async def find(
        self,
        frame: Frame,
        turn: Turn[PoseTrack] | None = None,
        *,
        smooth: bool = True,
        min_confidence: float = MIN_CONFIDENCE,
        min_tracking_confidence: float = MIN_CONFIDENCE,
        ticket: Ticket = NO_HURRY,
    ) -> Pose | None:
        """The pose in a frame; None where there is nobody. Without a turn it is a single picture.

        Raises ModelFailed, and what a batch queue raises; what is followed is then as it was.
        """
        before, moment = (turn.track.before, turn.moment) if turn else (None, None)
        pose, followed = await self.follow(
            frame,
            before,
            moment,
            smooth=smooth,
            min_confidence=min_confidence,
            min_tracking_confidence=min_tracking_confidence,
            ticket=ticket,
        )
        if turn:
            turn.track.before = followed
        return pose

    async def follow(
        self,
        frame: Frame,
        before: Followed | None = None,
        moment: float | None = None,
        *,
        smooth: bool = True,
        min_confidence: float = MIN_CONFIDENCE,
        min_tracking_confidence: float = MIN_CONFIDENCE,
        ticket: Ticket = NO_HURRY,
    ) -> tuple[Pose | None, Followed | None]:
        """What ``find`` does, for those who keep what is followed themselves.

        Looks where the person was in the frame before, and only searches the whole frame
        where there is nothing to go on from: so who is lost is missing for one frame at least.
        ``before`` is what this gave for the frame before of the same video, and ``moment``
        when this one was taken, in seconds (None: a single picture).
        """
        region = before.region if before else await self._found(frame, min_confidence, ticket)
        seen = region and await self._look(frame, region, min_tracking_confidence, ticket)
        if not seen:
            return None, None
        if moment is None:
            return seen.pose, None
        return _followed(seen, before, moment, smooth)

    async def _found(self, frame: Frame, least: float, ticket: Ticket) -> Region | None:
        """Where to look for the person that stands out most."""
        people = await self._people.look(frame, detector.PERSON.region(frame), ticket, asked=least)
        return _circle(people[0].keypoints).scaled(_MARGIN) if people else None

    async def _look(
        self, frame: Frame, region: Region, least: float, ticket: Ticket
    ) -> _Seen | None:
        return await self._points.look(frame, region, ticket, asked=least)


def _followed(
    seen: _Seen, before: Followed | None, moment: float, smooth: bool
) -> tuple[Pose, Followed]:
    """The pose of a video's frame, smoothed, and what to go on from."""
    guide = before.guide.copy() if before else OneEuro(0.01, 10)
    scale = _circle(seen.guides).width
    region = _circle(guide.apply(seen.guides, moment, scale)).scaled(_MARGIN)
    if not smooth:
        return seen.pose, Followed(region, guide, None)
    calm = (before and before.calm) or Calm.anew()
    pose, calm = calm.smoothed(seen.pose, moment, scale)
    return pose, Followed(region, guide, calm)


def _circle(guides: NDArray[np.floating]) -> Region:
    """The square around a body: of its middle, amid the hips, and a point straight above."""
    return circle(guides[0], guides[1], 90)


def _read(outputs: Outputs, cut: Cut) -> _Seen | None:
    """What the landmark model says of a region, if it is as sure as ``cut.asked`` of a person."""
    numbers, flag, _, heat, world = outputs
    confidence = float(flag[0])
    if confidence <= float(cut.asked):
        return None
    rows = numbers.reshape(_ALL_POINTS, _NUMBERS)
    shares = (rows[:, :3] / _SIDE).astype(np.float32)
    shares[:, :2] = refined(shares[:, :2], heat)
    placed = cut.region.place(shares[: POINTS + 2])
    # exp of no more than 80 stays within float32.
    visibility, presence = 1 / (1 + np.exp(np.minimum(-rows[:POINTS, 3:].T, 80)))
    metres = cut.region.turn(world.reshape(_ALL_POINTS, 3)[:POINTS])
    pose = Pose(placed[:POINTS], visibility, presence, metres, confidence)
    return _Seen(pose, placed[POINTS:])
