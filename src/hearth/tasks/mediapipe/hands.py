"""The task ``hand_tracking``."""

from collections.abc import Mapping
from typing import Any

from hearth.models.mediapipe.frame import Frame
from hearth.models.mediapipe.gestures import GESTURES
from hearth.models.mediapipe.hands import (
    MAX_HANDS,
    MIN_CONFIDENCE,
    MIN_TRACKING_CONFIDENCE,
    MOST_HANDS,
    Hand,
    HandTrack,
)
from hearth.models.mediapipe.model import MediaPipeModel
from hearth.models.mediapipe.streams import Turn
from hearth.tasks.mediapipe import shapes
from hearth.tasks.mediapipe.frames import COORDINATES, Seen, frame_task
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
CONFIDENCE = Option(
    "min_confidence",
    "float",
    MIN_CONFIDENCE,
    "leave out palms that are less certain than this",
    aliases=("min_detection_confidence",),
    least=0,
    most=1,
)
TRACKING_CONFIDENCE = Option(
    "min_tracking_confidence",
    "float",
    MIN_TRACKING_CONFIDENCE,
    "leave out hands that are less certain than this, and follow them no further",
    least=0,
    most=1,
)
WHICH = Option(
    "model",
    "choice",
    "full",
    "lite: quicker, and less exact",
    choices=("full", "lite"),
)
SMOOTH = Option(
    "smooth",
    "choice",
    "true",
    "in a video: calm the points that tremble",
    choices=("true", "false"),
)
MIRRORED = Option(
    "mirrored",
    "choice",
    "false",
    "true: the picture is mirrored, as a selfie camera shows it; left and right are still "
    "the subject's",
    choices=("true", "false"),
)

_METRE_DIGITS = 5


async def _find(
    model: MediaPipeModel, frame: Frame, turn: Turn[HandTrack] | None, call: Call
) -> list[Hand]:
    return await model.hands.find(
        frame,
        turn,
        max_hands=call.options[MOST.name],
        which=call.options[WHICH.name],
        min_confidence=call.options[CONFIDENCE.name],
        min_tracking_confidence=call.options[TRACKING_CONFIDENCE.name],
        smooth=call.options[SMOOTH.name] == "true",
        ticket=call.ticket,
    )


def _describe(found: list[Hand], seen: Seen, call: Call) -> Mapping[str, Any]:
    mirrored = call.options[MIRRORED.name] == "true"
    hands = [hand_of(hand, seen, call, mirrored=mirrored) for hand in found]
    return {"hands": hands, "count": len(hands)}


def hand_of(hand: Hand, seen: Seen, call: Call, *, mirrored: bool = False) -> dict[str, Any]:
    """A hand as JSON has it; its points are those of the picture, mirrored or not."""
    right = 1 - hand.right if mirrored else hand.right
    return {
        "handedness": "Right" if right > 0.5 else "Left",
        "handedness_score": round(max(right, 1 - right), 4),
        **shapes.points("points", hand.points, seen, call),
        "world_points": shapes.rounded(hand.world_points, _METRE_DIGITS),
        "gesture": hand.gesture.name,
        "gesture_score": round(hand.gesture.score, 4),
        "presence": round(hand.presence, 4),
        **shapes.box(hand.box, seen, call),
    }


HAND_TRACKING = frame_task(
    "hand_tracking",
    "the hands in a picture: 21 points each, left or right, and gestures",
    find=_find,
    describe=_describe,
    track=HandTrack,
    options=(MOST, CONFIDENCE, TRACKING_CONFIDENCE, WHICH, SMOOTH, MIRRORED, COORDINATES),
    limits={"gestures": ",".join(GESTURES)},
)
