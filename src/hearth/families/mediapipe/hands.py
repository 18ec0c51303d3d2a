"""Hands: 21 points each, also in metres, which hand it is and what it signs; followed in videos.

Constants and formulas are those of MediaPipe 0.10.21's hand_landmark_tracking_cpu graph:
palm detection, a region for each palm, the landmark model on it, and from its points the
region in which the hand is looked for in the next frame. MediaPipe doesn't smooth hands; here
they are in videos, as it smooths a body's points (pixels, by the points' extent, and metres).
"""

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from hearth.batching import NO_CONTEXT, RequestContext
from hearth.families.mediapipe.detector import PALM, Detection, RegionDetector
from hearth.families.mediapipe.frame import Frame
from hearth.families.mediapipe.gestures import Gesture, gesture_of
from hearth.families.mediapipe.region import Box, Points, Region, around, overlap, rotation_of
from hearth.families.mediapipe.smoothing import Filters, Smoothing, smoothing
from hearth.families.mediapipe.stage import Input, Outputs, RegionView, StageOf

Model = Literal["full", "lite"]
MODELS: tuple[Model, Model] = ("full", "lite")

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
    """Region where it is looked for in the next frame of a video."""
    seen: Points
    """Points as they were seen, before any smoothing."""
    filters: Filters | None = None
    """Filters that smooth the next frame's points."""

    @property
    def box(self) -> Box:
        """Box of its points."""
        return around(self.points).box


class WantedHands(NamedTuple):
    """Choice of the hands that are wanted, and how."""

    max_hands: int = MAX_HANDS
    """1 or more."""
    min_confidence: float = MIN_CONFIDENCE
    """Least confidence in a palm."""
    min_tracking_confidence: float = MIN_TRACKING_CONFIDENCE
    """Least presence of a hand, in every frame."""
    model: Model = "full"
    smooth: bool = True
    """True: smoothed in a video."""


TWO_HANDS = WantedHands()


class Hands:
    """Finds hands, and follows them through a video.

    ``stage_of`` gives the stages of the models; ``lite`` is quicker and less exact.
    """

    def __init__(self, stage_of: StageOf) -> None:
        self._palms = {
            model: RegionDetector(f"palm_detection_{model}", PALM, stage_of) for model in MODELS
        }
        self._landmarks = {
            model: stage_of(f"hand_landmark_{model}", _WANTS, read_hand) for model in MODELS
        }

    async def follow(
        self,
        frame: Frame,
        before: Sequence[Hand] | None = None,
        moment: float | None = None,
        wanted: WantedHands = TWO_HANDS,
        context: RequestContext = NO_CONTEXT,
    ) -> tuple[list[Hand], Sequence[Hand]]:
        """Find the hands in a frame, and what the next frame of the same video goes on from.

        Those that are followed come first and keep their order, and palms are only looked for
        while there are fewer than ``max_hands``. ``before`` is what the frame before has left,
        and ``moment`` when this one was taken, in seconds; both are None for a single picture.
        Raises ModelFailed, and what a batch queue raises.
        """
        followed = (before or ())[: wanted.max_hands]
        asked = [(one.region, smoothing(one.filters, moment, wanted.smooth)) for one in followed]
        if len(asked) < wanted.max_hands:
            palms = await self._palms[wanted.model].find(frame, wanted.min_confidence, context)
            anew = smoothing(None, moment, wanted.smooth)
            asked += [(region, anew) for region in _new(palms, [one.region for one in followed])]
        seen = await self.see(frame, asked[: wanted.max_hands], wanted.model, context)
        sure = [hand for hand in seen if hand.presence >= wanted.min_tracking_confidence]
        hands = [sure[at] for at in _distinct([hand.seen for hand in sure])]
        return hands, hands

    async def see(
        self,
        frame: Frame,
        regions: Sequence[tuple[Region, Smoothing | None]],
        model: Model = "full",
        context: RequestContext = NO_CONTEXT,
    ) -> list[Hand]:
        """Read the landmark model for each region, in order, however unsure it is.

        A region is to hold one hand with its fingers up, as ``region_of_palm`` makes it. Raises
        ModelFailed, and what a batch queue raises.
        """
        return await self._landmarks[model].look_all(frame, regions, context)


def read_hand(outputs: Outputs, view: RegionView[Smoothing | None]) -> Hand:
    """Read a hand of what the landmark model gives for a region.

    Outputs are 63 coordinates in pixels of the model's input, presence, handedness, and 63
    coordinates in metres. Presence and handedness have been through a sigmoid in the model.
    Handedness is the share of MediaPipe's first label, "Left", which is meant for a mirrored
    picture: so it is that of the right hand where nothing is mirrored.
    """
    points, presence, right, world = (np.asarray(output).ravel() for output in outputs)
    shares = points.reshape(21, 3) / np.float32(_WANTS.width)
    shares[:, 2] *= _Z_SHARE
    metres = world.reshape(21, 3)
    seen = view.region.place(shares)
    hand = Hand(
        seen,
        view.region.turn(metres),
        float(presence[0]),
        float(right[0]),
        gesture_of(metres),
        region_of_points(seen),
        seen,
    )
    return hand if view.asked is None else _calmed(hand, view.asked)


def _calmed(hand: Hand, how: Smoothing) -> Hand:
    filters, moment = how
    points, of_points = filters.points.apply(hand.seen, moment, around(hand.seen).extent)
    metres, of_metres = filters.metres.apply(hand.world_points, moment)
    later = Filters(of_points, of_metres)
    return hand._replace(points=points, world_points=metres, filters=later)


def region_of_palm(palm: Detection) -> Region:
    """Tell where the hand of a palm is: turned so that its middle finger points up."""
    wrist, middle_knuckle = palm.keypoints[0], palm.keypoints[2]
    upright = palm.region._replace(rotation=rotation_of(wrist, middle_knuckle, 90))
    return upright.shifted(0, -0.5).square_long().scaled(2.6)


def region_of_points(points: Points) -> Region:
    """Tell where a hand with these points (21, 2 or 3) will be in the next frame."""
    # From the wrist to the knuckles of index, middle (twice) and ring finger.
    knuckles = (points[5, :2] + points[13, :2] + 2 * points[9, :2]) / 4
    rotation = rotation_of(points[0], knuckles, 90)
    cos, sin = math.cos(rotation), math.sin(rotation)
    turn = np.array([[cos, sin], [-sin, cos]])
    outline = around(points[_PALM_OUTLINE, :2] @ turn.T)
    x, y = np.array([outline.x, outline.y]) @ turn
    tight = outline._replace(x=float(x), y=float(y), rotation=rotation)
    return tight.shifted(0, -0.1).square_long().scaled(2.0)


def _distinct(hands: Sequence[Points]) -> list[int]:
    """Tell which hands (21, 3) there are without those that are nearly an earlier one.

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


def _new(palms: Iterable[Detection], known: Sequence[Region]) -> list[Region]:
    """Find the hands of palms that belong to no known region, nor to a surer palm."""
    regions = list(known)
    for palm in palms:
        region = region_of_palm(palm)
        if all(overlap(region, other) <= _OVERLAP for other in regions):
            regions.append(region)
    return regions[len(known) :]
