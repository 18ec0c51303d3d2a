"""The task ``pose_tracking``, and a pose as JSON has it."""

from collections.abc import Mapping
from typing import Any

from hearth.models.mediapipe.frame import Frame
from hearth.models.mediapipe.joints import JOINTS, VISIBLE, angles
from hearth.models.mediapipe.model import MediaPipeModel
from hearth.models.mediapipe.pose import MIN_CONFIDENCE, POINTS, Pose, PoseTrack
from hearth.models.mediapipe.streams import Turn
from hearth.tasks.mediapipe import shapes
from hearth.tasks.mediapipe.frames import COORDINATES, Seen, frame_task
from hearth.tasks.options import Option
from hearth.tasks.task import Call

CONFIDENCE = Option(
    "min_confidence",
    "float",
    MIN_CONFIDENCE,
    "leave out a person that is found less certainly than this",
    aliases=("min_detection_confidence",),
    least=0,
    most=1,
)
TRACKING_CONFIDENCE = Option(
    "min_tracking_confidence",
    "float",
    MIN_CONFIDENCE,
    "leave out a pose that is less certain than this, and follow it no further",
    least=0,
    most=1,
)
SMOOTH = Option(
    "smooth",
    "choice",
    "true",
    "in a video: calm the points that tremble",
    choices=("true", "false"),
)
OPTIONS = (CONFIDENCE, TRACKING_CONFIDENCE, SMOOTH, COORDINATES)
"""Of tasks that follow a person."""

_SHARE_DIGITS = 4
_METRE_DIGITS = 5
_DEGREE_DIGITS = 1


def pose_of(pose: Pose, seen: Seen, call: Call) -> dict[str, Any]:
    """A pose as JSON has it; angles are null where a point is less visible than VISIBLE."""
    return {
        **shapes.points("points", pose.points, seen, call),
        "visibility": shapes.rounded(pose.visibility, _SHARE_DIGITS),
        "presence": shapes.rounded(pose.presence, _SHARE_DIGITS),
        "world_points": shapes.rounded(pose.world, _METRE_DIGITS),
        "angles": {
            name: None if angle is None else round(angle, _DEGREE_DIGITS)
            for name, angle in angles(pose.world, pose.visibility).items()
        },
        **shapes.box(pose.box, seen, call),
        "confidence": round(pose.confidence, _SHARE_DIGITS),
    }


def wishes_of(call: Call) -> Mapping[str, Any]:
    """What a request with OPTIONS wants, by the names that finders have for it."""
    return {
        "min_confidence": call.options[CONFIDENCE.name],
        "min_tracking_confidence": call.options[TRACKING_CONFIDENCE.name],
        "smooth": call.options[SMOOTH.name] == "true",
        "ticket": call.ticket,
    }


async def _find(
    model: MediaPipeModel, frame: Frame, turn: Turn[PoseTrack] | None, call: Call
) -> Pose | None:
    return await model.pose.find(frame, turn, **wishes_of(call))


def _describe(found: Pose | None, seen: Seen, call: Call) -> Mapping[str, Any]:
    poses = [] if found is None else [pose_of(found, seen, call)]
    return {"poses": poses, "count": len(poses)}


POSE_TRACKING = frame_task(
    "pose_tracking",
    f"a person's pose: {POINTS} points, also in metres, and the angles of eight joints",
    find=_find,
    describe=_describe,
    track=PoseTrack,
    options=OPTIONS,
    limits={"points": str(POINTS), "angles": ",".join(JOINTS), "angle_visibility": str(VISIBLE)},
)
