"""The task ``face_mesh``, and what it shares with others that follow faces."""

from collections.abc import Mapping
from typing import Any

from hearth.catalog import FieldInfo
from hearth.families.mediapipe.frame import Frame
from hearth.families.mediapipe.mesh import MOST_FACES, POINTS, TrackedFace, WantedMeshes
from hearth.families.mediapipe.model import MediaPipeModel
from hearth.families.mediapipe.tasks import shapes
from hearth.families.mediapipe.tasks.frames import Past, frame_task
from hearth.families.mediapipe.tasks.options import (
    CONFIDENCE,
    COORDINATES,
    RANGE,
    SMOOTH,
    TRACKING_CONFIDENCE,
)
from hearth.families.mediapipe.tasks.shapes import Size
from hearth.tasks import render
from hearth.tasks.options import Option
from hearth.tasks.task import Call

MOST = Option(
    "max_faces",
    "int",
    1,
    "the most faces that are looked for",
    aliases=("max_num_faces",),
    least=1,
    most=MOST_FACES,
)
OPTIONS = (MOST, CONFIDENCE, TRACKING_CONFIDENCE, RANGE, SMOOTH, COORDINATES)
"""Options of tasks that follow faces."""
OUTLINE = (*shapes.BOX, FieldInfo("presence", "score"))
FACE = (*shapes.placed("points", "points", f"{POINTS} points (x, y, z)"), *OUTLINE)
"""Fields of a face."""


def wanted_of(call: Call) -> WantedMeshes:
    """Read which faces a request with OPTIONS wants."""
    return WantedMeshes(
        max_faces=call.options[MOST.name],
        min_confidence=call.options[CONFIDENCE.name],
        min_tracking_confidence=call.options[TRACKING_CONFIDENCE.name],
        range=call.options[RANGE.name],
        smooth=call.options[SMOOTH.name],
    )


def face_of(face: TrackedFace, size: Size, call: Call) -> dict[str, Any]:
    """Write a face as JSON has it."""
    return {**shapes.points("points", face.points, size, call), **outline_of(face, size, call)}


def outline_of(face: TrackedFace, size: Size, call: Call) -> dict[str, Any]:
    """Write what JSON tells of a face beside its points."""
    return {**shapes.box(face.box, size, call), "presence": shapes.certainty(face.presence)}


async def _follow(
    model: MediaPipeModel, frame: Frame, past: Past, call: Call
) -> tuple[list[TrackedFace], Any]:
    return await model.mesh.follow(frame, *past, wanted_of(call), call.context)


def _describe(faces: list[TrackedFace], size: Size, call: Call) -> Mapping[str, Any]:
    return {"faces": [face_of(face, size, call) for face in faces], "count": len(faces)}


FACE_MESH = frame_task(
    "face_mesh",
    f"the faces in a picture: {POINTS} points each, in three dimensions",
    follow=_follow,
    describe=_describe,
    fields=(FieldInfo("faces", "items", fields=FACE, figure="face"), render.COUNT),
    options=OPTIONS,
    limits={"points": str(POINTS)},
)
