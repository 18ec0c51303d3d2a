"""A whole body: its pose, the mesh of its face, and both hands.

Constants and the order of steps: MediaPipe 0.10.21, graph holistic_landmark_cpu. The pose
says where face and hands are; those are looked at all at once. MediaPipe smooths the pose
alone; here a video's face and hands are smoothed too, as FaceMesh and Hands do it, and
followed by what was seen, which doesn't lag behind.
"""

from typing import NamedTuple

from hearth.batching import NO_HURRY, Ticket
from hearth.models.mediapipe import detector, roi
from hearth.models.mediapipe.detector import Detection
from hearth.models.mediapipe.frame import Frame
from hearth.models.mediapipe.hands import Hand, Hands, region_of_points
from hearth.models.mediapipe.mesh import Face, FaceMesh, Smoothing, new_filter
from hearth.models.mediapipe.pose import MIN_CONFIDENCE, Followed, Pose, PoseFinder
from hearth.models.mediapipe.region import Points, Region
from hearth.models.mediapipe.smoothing import OneEuro, extent, for_metres, for_points
from hearth.models.mediapipe.stage import Cut, Input, Outputs, Stage, StageOf
from hearth.models.mediapipe.streams import Turn
from hearth.plan import Plan, Step

POINTS = 543
"""When everything is seen: 33 of the pose, 468 of the face, 21 of each hand."""

LEFT = (15, 17, 19)
RIGHT = (16, 18, 20)
"""A pose's wrist, little finger and index finger, on the subject's side."""

_LEAST_WRIST = 0.1
"""The wrist's visibility from which a hand is searched."""
_LEAST_FACE = 0.5
"""Of the face detector's score and of the mesh's presence."""
_LEAST_HAND = 0.5
"""Of a hand's presence."""
_SIDE = 256
"""Of hand_recrop's input, in pixels: its points are in that unit."""


class Whole(NamedTuple):
    """A person's parts; None where one wasn't found. Left and right are the subject's."""

    pose: Pose | None
    face: Face | None
    left_hand: Hand | None
    right_hand: Hand | None


class _Handled(NamedTuple):
    """A hand that a video had in its last frame."""

    points: Points
    """As they were seen."""
    smooth: tuple[OneEuro, OneEuro] | None
    """For pixels and for metres; None: it wasn't smoothed."""


class _Before(NamedTuple):
    """What a video's frame goes on from."""

    pose: Followed | None = None
    face: Face | None = None
    left_hand: _Handled | None = None
    right_hand: _Handled | None = None


class WholeTrack:
    """The person followed through a video."""

    def __init__(self) -> None:
        self.before = _Before()


class _Look(NamedTuple):
    """What all steps of one frame know."""

    frame: Frame
    before: _Before
    moment: float | None
    """None: a single picture."""
    smooth: bool
    min_confidence: float
    min_tracking_confidence: float
    ticket: Ticket


class Holistic:
    """Finds the parts of the one person that stands out most."""

    def __init__(self, pose: PoseFinder, mesh: FaceMesh, hands: Hands, stage_of: StageOf) -> None:
        self._pose, self._mesh, self._hands = pose, mesh, hands
        self._faces: Stage[list[Detection]] = stage_of(
            "face_detection_short_range", detector.FACE_SHORT.wants, detector.FACE_SHORT.read
        )
        # Never run as a batch of several, which changes its answers: the sessions of stages
        # are pools, and those run row by row.
        self._recrop: Stage[Region] = stage_of("hand_recrop", Input(_SIDE, _SIDE), _read_recrop)
        self._plan = Plan([
            Step("pose", self._find_pose),
            Step("face", self._find_face, ("pose",)),
            Step("left_hand", self._find_left_hand, ("pose",)),
            Step("right_hand", self._find_right_hand, ("pose",)),
        ])  # fmt: skip

    async def find(
        self,
        frame: Frame,
        turn: Turn[WholeTrack] | None = None,
        *,
        smooth: bool = True,
        min_confidence: float = MIN_CONFIDENCE,
        min_tracking_confidence: float = MIN_CONFIDENCE,
        ticket: Ticket = NO_HURRY,
    ) -> Whole:
        """The parts of a person in a frame; all None where there is nobody.

        The confidences are those of the pose. Raises ModelFailed, and what a batch queue
        raises; what is followed is then as it was.
        """
        before, moment = (turn.track.before, turn.moment) if turn else (_Before(), None)
        answers = await self._plan.run(
            _Look(frame, before, moment, smooth, min_confidence, min_tracking_confidence, ticket)
        )
        pose, followed = answers["pose"]
        face = answers["face"]
        left, left_handled = answers["left_hand"]
        right, right_handled = answers["right_hand"]
        if turn:
            turn.track.before = _Before(followed, face, left_handled, right_handled)
        return Whole(pose, face, left, right)

    async def _find_pose(self, look: _Look) -> tuple[Pose | None, Followed | None]:
        return await self._pose.follow(
            look.frame,
            look.before.pose,
            look.moment,
            smooth=look.smooth,
            min_confidence=look.min_confidence,
            min_tracking_confidence=look.min_tracking_confidence,
            ticket=look.ticket,
        )

    async def _find_face(
        self, look: _Look, found: tuple[Pose | None, Followed | None]
    ) -> Face | None:
        pose, _ = found
        if pose is None:
            return None
        search = roi.face_of_pose(pose.points)
        faces = await self._faces.look(look.frame, search, look.ticket, asked=_LEAST_FACE)
        if not faces:
            return None
        region, before = roi.face_of_detection(faces[0].keypoints), look.before.face
        if before and roi.same(before.region, before.points, region, roi.FACE):
            region = before.region
        calm = None
        if look.moment is not None and look.smooth:
            calm = Smoothing((before and before.filter) or new_filter(), look.moment)
        [face] = await self._mesh.look(look.frame, [region], [calm], ticket=look.ticket)
        return face if face.presence > _LEAST_FACE else None

    async def _find_left_hand(
        self, look: _Look, found: tuple[Pose | None, Followed | None]
    ) -> tuple[Hand | None, _Handled | None]:
        return await self._find_hand(look, found[0], LEFT, look.before.left_hand)

    async def _find_right_hand(
        self, look: _Look, found: tuple[Pose | None, Followed | None]
    ) -> tuple[Hand | None, _Handled | None]:
        return await self._find_hand(look, found[0], RIGHT, look.before.right_hand)

    async def _find_hand(
        self, look: _Look, pose: Pose | None, places: tuple[int, int, int], before: _Handled | None
    ) -> tuple[Hand | None, _Handled | None]:
        wrist, pinky, index = places
        if pose is None or pose.visibility[wrist] <= _LEAST_WRIST:
            return None, None
        search = roi.hand_of_pose(*pose.points[[wrist, pinky, index], :2])
        region = await self._recrop.look(look.frame, search, look.ticket)
        if before:
            last = region_of_points(before.points)
            if roi.same(last, before.points, region, roi.HAND):
                region = last
        [hand] = await self._hands.look(look.frame, [region], ticket=look.ticket)
        if hand.presence <= _LEAST_HAND:
            return None, None
        if look.moment is None or not look.smooth:
            return hand, _Handled(hand.points, None)
        return _calmed(hand, (before and before.smooth) or None, look.moment)


def _calmed(
    hand: Hand, before: tuple[OneEuro, OneEuro] | None, moment: float
) -> tuple[Hand, _Handled]:
    """A hand, smoothed, and what to go on from."""
    pixels, metres = (
        (before[0].copy(), before[1].copy()) if before else (for_points(), for_metres())
    )
    calm = hand._replace(
        points=pixels.apply(hand.points, moment, extent(hand.points)),
        world_points=metres.apply(hand.world_points, moment),
    )
    return calm, _Handled(hand.points, (pixels, metres))


def _read_recrop(outputs: Outputs, cut: Cut) -> Region:
    """Where a hand is: outputs are (1, 1, 4), two points in pixels of the model's input."""
    [numbers] = outputs
    middle, edge = cut.region.place(numbers.reshape(2, 2) / _SIDE)
    return roi.hand_of_recrop(middle, edge)
