"""The task ``face_detection``."""

from collections.abc import Mapping
from typing import Any

from hearth.catalog import FieldInfo
from hearth.families.mediapipe.detector import Detection
from hearth.families.mediapipe.faces import KEYPOINTS, WantedFaces
from hearth.families.mediapipe.frame import Frame
from hearth.families.mediapipe.model import MediaPipeModel
from hearth.families.mediapipe.tasks import shapes
from hearth.families.mediapipe.tasks.frames import Past, frame_task
from hearth.families.mediapipe.tasks.options import CONFIDENCE, COORDINATES, RANGE
from hearth.families.mediapipe.tasks.shapes import Size
from hearth.tasks import render
from hearth.tasks.task import Call


async def _follow(
    model: MediaPipeModel, frame: Frame, _: Past, call: Call
) -> tuple[list[Detection], None]:
    wanted = WantedFaces(call.options[RANGE.name], call.options[CONFIDENCE.name])
    return await model.faces.find(frame, wanted, call.context), None


def _describe(found: list[Detection], size: Size, call: Call) -> Mapping[str, Any]:
    faces = [
        {
            **shapes.box(face.box, size, call),
            "confidence": shapes.certainty(face.score),
            **shapes.named_points("keypoints", KEYPOINTS, face.keypoints, size, call),
        }
        for face in found
    ]
    return {"faces": faces, "count": len(faces)}


_FACE = (
    *shapes.BOX,
    FieldInfo("confidence", "score"),
    *shapes.placed("keypoints", "points", "six points by name"),
)

FACE_DETECTION = frame_task(
    "face_detection",
    "the faces in a picture: boxes and six keypoints",
    follow=_follow,
    describe=_describe,
    fields=(FieldInfo("faces", "items", "the surest first", _FACE), render.COUNT),
    options=(CONFIDENCE, RANGE, COORDINATES),
)
