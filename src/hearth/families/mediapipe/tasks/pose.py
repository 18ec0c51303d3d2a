"""The task ``pose_tracking``, and a pose as JSON has it."""

from collections.abc import Mapping
from typing import Any

from hearth.catalog import FieldInfo
from hearth.families.mediapipe.frame import Frame
from hearth.families.mediapipe.joints import JOINTS, VISIBLE, angles
from hearth.families.mediapipe.model import MediaPipeModel
from hearth.families.mediapipe.pose import POINTS, Pose, WantedPose
from hearth.families.mediapipe.tasks import shapes
from hearth.families.mediapipe.tasks.frames import Past, frame_task
from hearth.families.mediapipe.tasks.options import (
    CONFIDENCE,
    COORDINATES,
    SMOOTH,
    TRACKING_CONFIDENCE,
)
from hearth.families.mediapipe.tasks.shapes import Size
from hearth.tasks import render
from hearth.tasks.task import Call

OPTIONS = (CONFIDENCE, TRACKING_CONFIDENCE, SMOOTH, COORDINATES)
"""Options of tasks that follow a person."""

_DEGREE_DIGITS = 1


def pose_of(pose: Pose, size: Size, call: Call) -> dict[str, Any]:
    """Write a pose as JSON has it; angles are null where a point is less visible than VISIBLE."""
    return {
        **shapes.points("points", pose.points, size, call),
        "visibility": shapes.certainties(pose.visibility),
        "presences": shapes.certainties(pose.presences),
        "world_points": shapes.metres(pose.world_points),
        "angles": {
            name: None if angle is None else round(angle, _DEGREE_DIGITS)
            for name, angle in angles(pose.world_points, pose.visibility).items()
        },
        **shapes.box(pose.box, size, call),
        "confidence": shapes.certainty(pose.confidence),
    }


def wanted_of(call: Call) -> WantedPose:
    """Read whose pose a request with OPTIONS wants."""
    return WantedPose(
        min_confidence=call.options[CONFIDENCE.name],
        min_tracking_confidence=call.options[TRACKING_CONFIDENCE.name],
        smooth=call.options[SMOOTH.name],
    )


async def _follow(
    model: MediaPipeModel, frame: Frame, past: Past, call: Call
) -> tuple[Pose | None, Any]:
    return await model.pose.follow(frame, *past, wanted_of(call), call.context)


def _describe(pose: Pose | None, size: Size, call: Call) -> Mapping[str, Any]:
    poses = [] if pose is None else [pose_of(pose, size, call)]
    return {"poses": poses, "count": len(poses)}


POSE = (
    *shapes.placed("points", "points", f"{POINTS} points (x, y, z)"),
    FieldInfo("visibility", "numbers", "of each point: in the picture and not hidden, 0 to 1"),
    FieldInfo("presences", "numbers", "of each point: within what was looked at, 0 to 1"),
    FieldInfo("world_points", "points", "in metres"),
    FieldInfo("angles", "numbers", "at the joints, in degrees; null where one isn't seen"),
    *shapes.BOX,
    FieldInfo("confidence", "score"),
)
"""Fields of a person."""

POSE_TRACKING = frame_task(
    "pose_tracking",
    f"a person's pose: {POINTS} points, also in metres, and the angles of eight joints",
    follow=_follow,
    describe=_describe,
    fields=(FieldInfo("poses", "items", fields=POSE, figure="pose"), render.COUNT),
    options=OPTIONS,
    limits={"points": str(POINTS), "angles": ",".join(JOINTS), "angle_visibility": str(VISIBLE)},
)
