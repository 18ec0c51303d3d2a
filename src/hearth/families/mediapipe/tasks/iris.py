"""The task ``iris_tracking``."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hearth.catalog import FieldInfo
from hearth.families.mediapipe.frame import Frame
from hearth.families.mediapipe.iris import CONTOUR, IRIS, Eye, Eyes
from hearth.families.mediapipe.model import MediaPipeModel
from hearth.families.mediapipe.tasks import shapes
from hearth.families.mediapipe.tasks.frames import Past, frame_task
from hearth.families.mediapipe.tasks.mesh import OPTIONS, OUTLINE, outline_of, wanted_of
from hearth.families.mediapipe.tasks.shapes import Size
from hearth.tasks import render
from hearth.tasks.task import Call


async def _follow(
    model: MediaPipeModel, frame: Frame, past: Past, call: Call
) -> tuple[list[Eyes], Any]:
    return await model.iris.follow(frame, *past, wanted_of(call), call.context)


def _describe(eyes: list[Eyes], size: Size, call: Call) -> Mapping[str, Any]:
    faces = [
        {
            **outline_of(face, size, call),
            "right": _eye_of(right, size, call),
            "left": _eye_of(left, size, call),
        }
        for face, right, left in eyes
    ]
    return {"faces": faces, "count": len(faces)}


def _eye_of(eye: Eye, size: Size, call: Call) -> dict[str, Any]:
    return {
        **shapes.points("iris", eye.iris, size, call),
        **shapes.points("contour", eye.contour, size, call),
        "diameter": round(eye.diameter, 2),
        "gaze": {
            "direction": shapes.rounded(np.array(eye.gaze.direction), 4),
            "yaw_degrees": round(eye.gaze.yaw_degrees, 1),
            "pitch_degrees": round(eye.gaze.pitch_degrees, 1),
        },
    }


_EYE = (
    *shapes.placed("iris", "points", f"{IRIS} points: the centre, then the edge"),
    *shapes.placed("contour", "points", f"{CONTOUR} points around the eye"),
    FieldInfo("diameter", "number", "of the iris, in pixels"),
    FieldInfo("gaze", "gaze", "direction as a unit vector, yaw and pitch in degrees"),
)
_FACE = (
    *OUTLINE,
    FieldInfo("right", "item", "the subject's right eye", _EYE, "eye"),
    FieldInfo("left", "item", "the subject's left eye", _EYE, "eye"),
)

IRIS_TRACKING = frame_task(
    "iris_tracking",
    "the eyes in a picture: irises, contours, and roughly where they look",
    follow=_follow,
    describe=_describe,
    fields=(FieldInfo("faces", "items", fields=_FACE), render.COUNT),
    options=OPTIONS,
    limits={"iris_points": str(IRIS), "contour_points": str(CONTOUR)},
)
