"""The task ``holistic_tracking``."""

from collections.abc import Mapping
from typing import Any

from hearth.catalog import FieldInfo
from hearth.families.mediapipe.frame import Frame
from hearth.families.mediapipe.hands import Hand
from hearth.families.mediapipe.holistic import POINTS, Whole
from hearth.families.mediapipe.model import MediaPipeModel
from hearth.families.mediapipe.tasks import shapes
from hearth.families.mediapipe.tasks.frames import Past, frame_task
from hearth.families.mediapipe.tasks.hands import HAND, hand_of
from hearth.families.mediapipe.tasks.mesh import FACE, face_of
from hearth.families.mediapipe.tasks.pose import OPTIONS, POSE, pose_of, wanted_of
from hearth.families.mediapipe.tasks.shapes import Size
from hearth.tasks.task import Call


async def _follow(model: MediaPipeModel, frame: Frame, past: Past, call: Call) -> tuple[Whole, Any]:
    return await model.holistic.follow(frame, *past, wanted_of(call), call.context)


def _describe(found: Whole, size: Size, call: Call) -> Mapping[str, Any]:
    pose, face = found.pose, found.face
    return {
        "pose": None if pose is None else pose_of(pose, size, call),
        "face": None if face is None else face_of(face, size, call),
        "left_hand": _side(found.left_hand, "Left", size, call),
        "right_hand": _side(found.right_hand, "Right", size, call),
        "points_total": sum(len(part.points) for part in found if part is not None),
    }


def _side(hand: Hand | None, side: str, size: Size, call: Call) -> dict[str, Any] | None:
    """Write a hand whose side the arm tells; its score is how much it looks like that side."""
    if hand is None:
        return None
    score = hand.right if side == "Right" else 1 - hand.right
    content = {"handedness": side, "handedness_score": shapes.certainty(score)}
    return {**hand_of(hand, size, call), **content}


_FIELDS = (
    FieldInfo("pose", "item", fields=POSE, figure="pose"),
    FieldInfo("face", "item", fields=FACE, figure="face"),
    FieldInfo("left_hand", "item", fields=HAND, figure="hand"),
    FieldInfo("right_hand", "item", fields=HAND, figure="hand"),
    FieldInfo("points_total", "count"),
)

HOLISTIC_TRACKING = frame_task(
    "holistic_tracking",
    f"a person's pose, face and hands: {POINTS} points when all are seen",
    follow=_follow,
    describe=_describe,
    fields=_FIELDS,
    options=OPTIONS,
    limits={"points": str(POINTS)},
)
