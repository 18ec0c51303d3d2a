"""The task ``iris_tracking``."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hearth.models.mediapipe.frame import Frame
from hearth.models.mediapipe.iris import CONTOUR, IRIS, Eye, Eyes, IrisTrack
from hearth.models.mediapipe.model import MediaPipeModel
from hearth.models.mediapipe.streams import Turn
from hearth.tasks.mediapipe import shapes
from hearth.tasks.mediapipe.frames import Seen, frame_task
from hearth.tasks.mediapipe.mesh import OPTIONS, outline_of, wanted_of
from hearth.tasks.task import Call


async def _find(
    model: MediaPipeModel, frame: Frame, turn: Turn[IrisTrack] | None, call: Call
) -> list[Eyes]:
    return await model.iris.find(frame, turn, wanted=wanted_of(call), ticket=call.ticket)


def _describe(found: list[Eyes], seen: Seen, call: Call) -> Mapping[str, Any]:
    faces = [
        {
            **outline_of(face, seen, call),
            "right": _eye_of(right, seen, call),
            "left": _eye_of(left, seen, call),
        }
        for face, right, left in found
    ]
    return {"faces": faces, "count": len(faces)}


def _eye_of(eye: Eye, seen: Seen, call: Call) -> dict[str, Any]:
    return {
        **shapes.points("iris", eye.iris, seen, call),
        **shapes.points("contour", eye.contour, seen, call),
        "diameter": round(eye.diameter, 2),
        "gaze": {
            "direction": shapes.rounded(np.array(eye.gaze.direction), 4),
            "yaw_degrees": round(eye.gaze.yaw_degrees, 1),
            "pitch_degrees": round(eye.gaze.pitch_degrees, 1),
        },
    }


IRIS_TRACKING = frame_task(
    "iris_tracking",
    "the eyes in a picture: irises, contours, and roughly where they look",
    find=_find,
    describe=_describe,
    track=IrisTrack,
    options=OPTIONS,
    limits={"iris_points": str(IRIS), "contour_points": str(CONTOUR)},
)
