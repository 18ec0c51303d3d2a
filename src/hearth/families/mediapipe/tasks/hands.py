"""The task ``hand_tracking``."""

from collections.abc import Mapping
from typing import Any

from hearth.catalog import FieldInfo
from hearth.families.mediapipe.frame import Frame
from hearth.families.mediapipe.gestures import GESTURES
from hearth.families.mediapipe.hands import MAX_HANDS, MOST_HANDS, Hand, WantedHands
from hearth.families.mediapipe.model import MediaPipeModel
from hearth.families.mediapipe.tasks import shapes
from hearth.families.mediapipe.tasks.frames import Past, frame_task
from hearth.families.mediapipe.tasks.options import (
    CONFIDENCE,
    COORDINATES,
    MIRRORED,
    SMOOTH,
    TRACKING_CONFIDENCE,
)
from hearth.families.mediapipe.tasks.shapes import Size
from hearth.tasks import render
from hearth.tasks.options import Option
from hearth.tasks.task import Call

MOST = Option(
    "max_hands",
    "int",
    MAX_HANDS,
    "the most hands that are looked for",
    aliases=("max_num_hands",),
    least=1,
    most=MOST_HANDS,
)
MODEL = Option(
    "model",
    "choice",
    "full",
    "lite: quicker, and less exact",
    choices=("full", "lite"),
)


async def _follow(
    model: MediaPipeModel, frame: Frame, past: Past, call: Call
) -> tuple[list[Hand], Any]:
    wanted = WantedHands(
        max_hands=call.options[MOST.name],
        min_confidence=call.options[CONFIDENCE.name],
        min_tracking_confidence=call.options[TRACKING_CONFIDENCE.name],
        model=call.options[MODEL.name],
        smooth=call.options[SMOOTH.name],
    )
    return await model.hands.follow(frame, *past, wanted, call.context)


def _describe(found: list[Hand], size: Size, call: Call) -> Mapping[str, Any]:
    mirrored = call.options[MIRRORED.name]
    hands = [hand_of(hand, size, call, mirrored=mirrored) for hand in found]
    return {"hands": hands, "count": len(hands)}


def hand_of(hand: Hand, size: Size, call: Call, *, mirrored: bool = False) -> dict[str, Any]:
    """Write a hand as JSON has it; its points are those of the picture, mirrored or not."""
    right = 1 - hand.right if mirrored else hand.right
    return {
        "handedness": "Right" if right > 0.5 else "Left",
        "handedness_score": shapes.certainty(max(right, 1 - right)),
        **shapes.points("points", hand.points, size, call),
        "world_points": shapes.metres(hand.world_points),
        "gesture": hand.gesture.name,
        "gesture_score": shapes.certainty(hand.gesture.score),
        "presence": shapes.certainty(hand.presence),
        **shapes.box(hand.box, size, call),
    }


HAND = (
    FieldInfo("handedness", "text", "Right or Left, the subject's"),
    FieldInfo("handedness_score", "number", "0 to 1"),
    *shapes.placed("points", "points", "21 points (x, y, z)"),
    FieldInfo("world_points", "points", "in metres"),
    FieldInfo("gesture", "text", "its name, or None"),
    FieldInfo("gesture_score", "number", "0 to 1"),
    FieldInfo("presence", "score"),
    *shapes.BOX,
)
"""Fields of a hand."""

HAND_TRACKING = frame_task(
    "hand_tracking",
    "the hands in a picture: 21 points each, left or right, and gestures",
    follow=_follow,
    describe=_describe,
    fields=(FieldInfo("hands", "items", fields=HAND, figure="hand"), render.COUNT),
    options=(MOST, CONFIDENCE, TRACKING_CONFIDENCE, MODEL, SMOOTH, MIRRORED, COORDINATES),
    limits={"gestures": ",".join(GESTURES)},
)
