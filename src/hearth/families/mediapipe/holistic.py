"""A whole body: its pose, the mesh of its face, and both hands.

Constants and the order of steps: MediaPipe 0.10.21, graph holistic_landmark_cpu. The pose
says where face and hands are; those are looked at all at once. MediaPipe smooths the pose
alone; here a video's face and hands are smoothed too, as FaceMesh and Hands do it, and
followed by what was seen, which doesn't lag behind.
"""

from functools import partial
from typing import Literal, NamedTuple

from hearth.batching import NO_CONTEXT, RequestContext
from hearth.families.mediapipe import detector, roi
from hearth.families.mediapipe.detector import RegionDetector
from hearth.families.mediapipe.frame import Frame
from hearth.families.mediapipe.hands import Hand, Hands
from hearth.families.mediapipe.mesh import FaceMesh, TrackedFace
from hearth.families.mediapipe.pose import ANY_POSE, Followed, Pose, PoseFinder, WantedPose
from hearth.families.mediapipe.region import Region
from hearth.families.mediapipe.smoothing import Smoothing, smoothing
from hearth.families.mediapipe.stage import Input, Outputs, RegionView, StageOf
from hearth.plan import Plan, Step

POINTS = 543
"""Number of points when everything is seen: 33 of the pose, 468 of the face, 21 of each hand."""

Side = Literal["left_hand", "right_hand"]

_ARMS: dict[Side, tuple[int, int, int]] = {"left_hand": (15, 17, 19), "right_hand": (16, 18, 20)}
"""A pose's wrist, little finger and index finger, on the subject's side."""

_LEAST_WRIST = 0.1
"""The wrist's visibility from which a hand is searched."""
_LEAST_FACE = 0.5
"""Least score of the face detector, and least presence of the mesh."""
_LEAST_HAND = 0.5
"""Least presence of a hand."""
_SIDE = 256
"""Side of hand_recrop's input, in pixels: its points are in that unit."""


class Whole(NamedTuple):
    """A person's parts; None where one wasn't found. Left and right are the subject's."""

    pose: Pose | None
    face: TrackedFace | None
    left_hand: Hand | None
    right_hand: Hand | None


class Before(NamedTuple):
    """State that a video's frame goes on from; parts as the frame before had them."""

    pose: Followed | None = None
    face: TrackedFace | None = None
    left_hand: Hand | None = None
    right_hand: Hand | None = None


_NOTHING = Before()


class _Scene(NamedTuple):
    """Scene that all steps of one frame share."""

    frame: Frame
    before: Before
    moment: float | None
    """None: a single picture."""
    wanted: WantedPose
    context: RequestContext

    def smoothing(self, part: TrackedFace | Hand | None) -> Smoothing | None:
        """Tell how what was ``part`` in the frame before is smoothed."""
        return smoothing(part and part.filters, self.moment, self.wanted.smooth)


Posed = tuple[Pose | None, Followed | None]
"""A pose, and what to go on from."""


class Holistic:
    """Finds the parts of the one person that stands out most."""

    def __init__(self, pose: PoseFinder, mesh: FaceMesh, hands: Hands, stage_of: StageOf) -> None:
        self._pose, self._mesh, self._hands = pose, mesh, hands
        self._faces = RegionDetector("face_detection_short_range", detector.FACE_SHORT, stage_of)
        # Never run as a batch of several, which changes its answers: the sessions of stages
        # are pools, and those run row by row.
        self._recrop = stage_of("hand_recrop", Input(_SIDE, _SIDE), _read_recrop)
        self._plan = Plan([
            Step("pose", self._find_pose),
            Step("face", self._find_face, ("pose",)),
            Step("left_hand", partial(self._find_hand, "left_hand"), ("pose",)),
            Step("right_hand", partial(self._find_hand, "right_hand"), ("pose",)),
        ])  # fmt: skip

    async def follow(
        self,
        frame: Frame,
        before: Before | None = None,
        moment: float | None = None,
        wanted: WantedPose = ANY_POSE,
        context: RequestContext = NO_CONTEXT,
    ) -> tuple[Whole, Before]:
        """Find the parts of a person in a frame, and what the next frame of the video goes on from.

        All parts are None where there is nobody; the confidences are those of the pose.
        ``before`` is what the frame before has left, and ``moment`` when this one was taken, in
        seconds; both are None for a single picture. Raises ModelFailed, and what a batch queue
        raises.
        """
        scene = _Scene(frame, before or _NOTHING, moment, wanted, context)
        answers = await self._plan.run(scene)
        pose, followed = answers["pose"]
        face, left, right = answers["face"], answers["left_hand"], answers["right_hand"]
        return Whole(pose, face, left, right), Before(followed, face, left, right)

    async def _find_pose(self, scene: _Scene) -> Posed:
        frame, before, moment, wanted, context = scene
        return await self._pose.follow(frame, before.pose, moment, wanted, context)

    async def _find_face(self, scene: _Scene, posed: Posed) -> TrackedFace | None:
        pose, _ = posed
        if pose is None:
            return None
        search = roi.face_of_pose(pose.points)
        faces = await self._faces.find(scene.frame, _LEAST_FACE, scene.context, within=search)
        if not faces:
            return None
        region, before = roi.face_of_detection(faces[0].keypoints), scene.before.face
        if before and roi.same(before.region, before.seen, region, roi.FACE):
            region = before.region
        asked = (region, scene.smoothing(before))
        [face] = await self._mesh.see(scene.frame, [asked], scene.context)
        return face if face.presence >= _LEAST_FACE else None

    async def _find_hand(self, side: Side, scene: _Scene, posed: Posed) -> Hand | None:
        pose, _ = posed
        wrist, pinky, index = _ARMS[side]
        if pose is None or pose.visibility[wrist] < _LEAST_WRIST:
            return None
        search = roi.hand_of_pose(*pose.points[[wrist, pinky, index], :2])
        region = await self._recrop.look(scene.frame, search, None, scene.context)
        before: Hand | None = getattr(scene.before, side)
        if before and roi.same(before.region, before.seen, region, roi.HAND):
            region = before.region
        asked = (region, scene.smoothing(before))
        [hand] = await self._hands.see(scene.frame, [asked], context=scene.context)
        return hand if hand.presence >= _LEAST_HAND else None


def _read_recrop(outputs: Outputs, view: RegionView[None]) -> Region:
    """Read where a hand is: outputs are (1, 1, 4), two points in pixels of the model's input."""
    [numbers] = outputs
    middle, edge = view.region.place(numbers.reshape(2, 2) / _SIDE)
    return roi.hand_of_recrop(middle, edge)
