"""The task ``face_detection``."""

from collections.abc import Mapping
from typing import Any

from hearth.models.mediapipe.detector import Detection
from hearth.models.mediapipe.faces import KEYPOINTS, MIN_CONFIDENCE
from hearth.models.mediapipe.frame import Frame
from hearth.models.mediapipe.model import MediaPipeModel
from hearth.models.mediapipe.streams import Turn
from hearth.tasks.mediapipe import shapes
from hearth.tasks.mediapipe.frames import COORDINATES, Seen, frame_task
from hearth.tasks.options import Option
from hearth.tasks.task import Call

CONFIDENCE = Option(
    "min_confidence",
    "float",
    MIN_CONFIDENCE,
    "leave out what is less certain than this",
    aliases=("min_detection_confidence",),
    least=0,
    most=1,
)
RANGE = Option(
    "range",
    "choice",
    "short",
    "short: faces within some 2 metres; full: within 5",
    choices=("short", "full"),
)


async def _find(
    model: MediaPipeModel, frame: Frame, _: Turn[None] | None, call: Call
) -> list[Detection]:
    return await model.faces.find(
        frame,
        which=call.options[RANGE.name],
        min_confidence=call.options[CONFIDENCE.name],
        ticket=call.ticket,
    )


def _describe(found: list[Detection], seen: Seen, call: Call) -> Mapping[str, Any]:
    faces = [
        {
            **shapes.box(face.box, seen, call),
            "confidence": round(face.score, 4),
            **shapes.named_points("keypoints", KEYPOINTS, face.keypoints, seen, call),
        }
        for face in found
    ]
    return {"faces": faces, "count": len(faces)}


FACE_DETECTION = frame_task(
    "face_detection",
    "the faces in a picture: boxes and six keypoints",
    find=_find,
    describe=_describe,
    track=None,
    options=(CONFIDENCE, RANGE, COORDINATES),
)
