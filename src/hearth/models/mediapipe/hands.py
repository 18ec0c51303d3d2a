"""Hands: 21 points each, also in metres, which hand it is and what it signs; followed in videos.

Constants and formulas are those of MediaPipe 0.10.21's hand_landmark_tracking_cpu graph:
palm detection, a region for each palm, the landmark model on it, and from its points the
region in which the hand is looked for in the next frame.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from hearth.batching import NO_HURRY, Ticket
from hearth.models.mediapipe.detector import PALM, Detection
from hearth.models.mediapipe.frame import Frame
from hearth.models.mediapipe.gestures import Gesture, gesture_of
from hearth.models.mediapipe.region import Points, Region, around, rotation_of
from hearth.models.mediapipe.smoothing import OneEuro, extent
from hearth.models.mediapipe.stage import Cut, Input, Outputs, StageOf
from hearth.models.mediapipe.streams import Turn

Which = Literal["full", "lite"]

MOST_HANDS = 8
MAX_HANDS = 2
MIN_CONFIDENCE = 0.5
MIN_TRACKING_CONFIDENCE = 0.5
"""Defaults of mp.solutions.hands: max_num_hands, min_detection_ and min_tracking_confidence."""

_WANTS = Input(224, 224)
_Z_SHARE = 1 / 0.4
"""z is in the model's pixels divided by this much (normalize_z of TensorsToLandmarks)."""

_OVERLAP = 0.5
"""Regions that share more than this are of one hand (min_similarity_threshold)."""

_PALM_OUTLINE = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)
"""Points that say where the hand will be: no fingertips (HandLandmarksToRectCalculator)."""

# MediaPipe doesn't smooth hands. These are the parameters of its pose landmarks (pixels, by
# the points' extent) and pose world landmarks (metres) in pose_landmark_cpu.
_POINTS_FILTER = OneEuro(min_cutoff=0.05, beta=80.0, derivate_cutoff=1.0)
_WORLD_FILTER = OneEuro(min_cutoff=0.1, beta=40.0, derivate_cutoff=1.0)


class Hand(NamedTuple):
    """One hand; coordinates in pixels of the upright picture."""

    points: Points
    """(21, 3), MediaPipe's order: wrist, then thumb, index, middle, ring and little finger, each
    from the palm to the tip. z counts from the wrist, smaller is nearer to the camera."""
    world_points: Points
    """(21, 3), metres, from about the middle of the hand, in the picture's directions."""
    presence: float
    """0 to 1: whether it is a hand at all."""
    right: float
    """0 to 1: whether it is the subject's right hand, in a picture that isn't mirrored."""
    gesture: Gesture
    region: Region
    """Where it was looked for."""

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of its points; may lie partly beyond the picture."""
        box = around(self.points)
        return (
            box.x - box.width / 2, box.y - box.height / 2,
            box.x + box.width / 2, box.y + box.height / 2,
        )  # fmt: skip


class _Followed(NamedTuple):
    """A hand that a video had in its last frame."""

    region: Region
    """Where it is looked for next."""
    points: OneEuro | None = None
    world: OneEuro | None = None


class HandTrack:
    """The hands that are followed through a video, the one seen longest first."""

    def __init__(self) -> None:
        self.followed: tuple[_Followed, ...] = ()


class Hands:
    """Finds hands, and follows them through a video.

    ``stage_of`` gives the stages of the models; ``lite`` is quicker and less exact.
    """

    def __init__(self, stage_of: StageOf) -> None:
        self._palms = {
            which: stage_of(f"palm_detection_{which}", PALM.wants, PALM.read)
            for which in ("full", "lite")
        }
        self._landmarks = {
            which: stage_of(f"hand_landmark_{which}", _WANTS, read_hand)
            for which in ("full", "lite")
        }

    async def find(
        self,
        frame: Frame,
        turn: Turn[HandTrack] | None = None,
        *,
        max_hands: int = MAX_HANDS,
        which: Which = "full",
        min_confidence: float = MIN_CONFIDENCE,
        min_tracking_confidence: float = MIN_TRACKING_CONFIDENCE,
        smooth: bool = True,
        ticket: Ticket = NO_HURRY,
    ) -> list[Hand]:
        """The hands in a frame, at most ``max_hands``.

        In a video (with ``turn``) those that are followed come first and keep their order, and
        palms are only looked for while there are fewer than ``max_hands``. Of a palm that must
        be at least ``min_confidence`` sure, and of a hand ``min_tracking_confidence``. Raises
        ModelFailed, and what a batch queue raises; what is followed is then as it was.
        """
        followed = list(turn.track.followed[:max_hands]) if turn else []
        if len(followed) < max_hands:
            region = PALM.region(frame)
            palms: list[Detection] = await self._palms[which].look(
                frame, region, ticket, asked=min_confidence
            )
            followed += _new(palms, [one.region for one in followed])
            del followed[max_hands:]
        seen = await self.look(frame, [one.region for one in followed], which=which, ticket=ticket)
        sure = [at for at, hand in enumerate(seen) if hand.presence >= min_tracking_confidence]
        distinct = [sure[at] for at in _distinct([seen[at].points for at in sure])]
        hands = [seen[at] for at in distinct]
        return _follow(turn, hands, [followed[at] for at in distinct], smooth) if turn else hands

    async def look(
        self,
        frame: Frame,
        regions: Sequence[Region],
        *,
        which: Which = "full",
        ticket: Ticket = NO_HURRY,
    ) -> list[Hand]:
        """What the landmark model sees in each region, in order, however unsure it is.

        A region is to hold one hand with its fingers up, as ``region_of_palm`` makes it. Raises
        ModelFailed, and what a batch queue raises.
        """
        return await self._landmarks[which].look_all(frame, regions, ticket)


def read_hand(outputs: Outputs, cut: Cut) -> Hand:
    """A hand of what the landmark model gives for a region.

    Outputs are 63 coordinates in pixels of the model's input, presence, handedness, and 63
    coordinates in metres. Presence and handedness have been through a sigmoid in the model.
    Handedness is the share of MediaPipe's first label, "Left", which is meant for a mirrored
    picture: so it is that of the right hand where nothing is mirrored.
    """
    points, presence, right, world = (np.asarray(output).ravel() for output in outputs)
    shares = points.reshape(21, 3) / np.float32(_WANTS.width)
    shares[:, 2] *= _Z_SHARE
    metres = world.reshape(21, 3)
    return Hand(
        cut.region.place(shares),
        cut.region.turn(metres),
        float(presence[0]),
        float(right[0]),
        gesture_of(metres),
        cut.region,
    )


def region_of_palm(palm: Detection) -> Region:
    """Where the hand of a palm is: turned so that its middle finger points up."""
    wrist, middle_knuckle = palm.keypoints[0], palm.keypoints[2]
    upright = palm.region._replace(rotation=rotation_of(wrist, middle_knuckle, 90))
    return upright.shifted(0, -0.5).square_long().scaled(2.6)


def region_of_points(points: Points) -> Region:
    """Where a hand with these points (21, 2 or 3) will be in the next frame."""
    # From the wrist to the knuckles of index, middle (twice) and ring finger.
    knuckles = (points[5, :2] + points[13, :2] + 2 * points[9, :2]) / 4
    rotation = rotation_of(points[0], knuckles, 90)
    cos, sin = math.cos(rotation), math.sin(rotation)
    turn = np.array([[cos, sin], [-sin, cos]])
    outline = around(points[_PALM_OUTLINE, :2] @ turn.T)
    x, y = np.array([outline.x, outline.y]) @ turn
    tight = outline._replace(x=float(x), y=float(y), rotation=rotation)
    return tight.shifted(0, -0.1).square_long().scaled(2.0)


def _follow(
    turn: Turn[HandTrack], hands: Sequence[Hand], before: Sequence[_Followed], smooth: bool
) -> list[Hand]:
    """The hands of a frame, smoothed; what is followed goes on from them."""
    told, following = [], []
    for hand, last in zip(hands, before, strict=True):
        smoothed, points, world = hand, None, None
        if smooth:
            points = (last.points or _POINTS_FILTER).copy()
            world = (last.world or _WORLD_FILTER).copy()
            smoothed = hand._replace(
                points=points.apply(hand.points, turn.moment, extent(hand.points)),
                world_points=world.apply(hand.world_points, turn.moment),
            )
        told.append(smoothed)
        # The region goes on from what was seen, which doesn't lag behind.
        following.append(_Followed(region_of_points(hand.points), points, world))
    turn.track.followed = tuple(following)
    return told


def _distinct(hands: Sequence[Points]) -> list[int]:
    """Which hands (21, 3) there are without those that are nearly an earlier one.

    That is where at least 10 points are within a fifth of the palm's size, as
    HandLandmarksDeduplicationCalculator of MediaPipe's newer Tasks has it; mp.solutions
    tells of such a hand twice.
    """
    if len(hands) < 2:
        return list(range(len(hands)))
    flat = np.stack(hands)[:, :, :2]
    sizes = np.linalg.norm(flat[:, (0, 5, 17)] - flat[:, (5, 17, 0)], axis=2).max(axis=1)
    near = np.maximum(sizes[:, None], sizes) * 0.2
    gaps = np.linalg.norm(flat[:, None] - flat, axis=3)
    same = (gaps < near[:, :, None]).sum(axis=2) >= 10
    kept: list[int] = []
    for at in range(len(hands)):
        if not same[at, kept].any():
            kept.append(at)
    return kept


def _new(palms: Iterable[Detection], known: Sequence[Region]) -> list[_Followed]:
    """Hands for the palms that are of none of the known regions, and of no surer palm."""
    regions = list(known)
    for palm in palms:
        region = region_of_palm(palm)
        if all(_overlap(region, other) <= _OVERLAP for other in regions):
            regions.append(region)
    return [_Followed(region) for region in regions[len(known) :]]


def _overlap(one: Region, other: Region) -> float:
    """Intersection over union; turned regions count as if they were upright, as MediaPipe's."""
    wide = min(one.x + one.width / 2, other.x + other.width / 2) - max(
        one.x - one.width / 2, other.x - other.width / 2
    )
    high = min(one.y + one.height / 2, other.y + other.height / 2) - max(
        one.y - one.height / 2, other.y - other.height / 2
    )
    common = max(wide, 0.0) * max(high, 0.0)
    union = one.width * one.height + other.width * other.height - common
    return common / union if union > 0 else 0.0
