"""The task ``holistic_tracking``."""

from collections.abc import Mapping
from typing import Any

from hearth.models.mediapipe.frame import Frame
from hearth.models.mediapipe.hands import Hand
from hearth.models.mediapipe.holistic import POINTS, Whole, WholeTrack
from hearth.models.mediapipe.model import MediaPipeModel
from hearth.models.mediapipe.streams import Turn
from hearth.tasks.mediapipe.frames import Seen, frame_task
from hearth.tasks.mediapipe.hands import hand_of
from hearth.tasks.mediapipe.mesh import face_of
from hearth.tasks.mediapipe.pose import OPTIONS, pose_of, wishes_of
from hearth.tasks.task import Call


async def _find(
    model: MediaPipeModel, frame: Frame, turn: Turn[WholeTrack] | None, call: Call
) -> Whole:
    return await model.holistic.find(frame, turn, **wishes_of(call))


def _describe(found: Whole, seen: Seen, call: Call) -> Mapping[str, Any]:
    pose, face = found.pose, found.face
    return {
        "pose": None if pose is None else pose_of(pose, seen, call),
        "face": None if face is None else face_of(face, seen, call),
        "left_hand": _side(found.left_hand, "Left", seen, call),
        "right_hand": _side(found.right_hand, "Right", seen, call),
        "points_total": sum(len(part.points) for part in found if part is not None),
    }


def _side(hand: Hand | None, side: str, seen: Seen, call: Call) -> dict[str, Any] | None:
    """The arm says which hand it is; the score is how much the hand itself looks like it."""
    if hand is None:
        return None
    score = hand.right if side == "Right" else 1 - hand.right
    told = {"handedness": side, "handedness_score": round(score, 4)}
    return {**hand_of(hand, seen, call), **told}


HOLISTIC_TRACKING = frame_task(
    "holistic_tracking",
    f"a person's pose, face and hands: {POINTS} points when all are seen",
    find=_find,
    describe=_describe,
    track=WholeTrack,
    options=OPTIONS,
    limits={"points": str(POINTS)},
)
