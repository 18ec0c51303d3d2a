"""The task ``face_mesh``, and what it shares with others that follow faces."""

from collections.abc import Mapping
from typing import Any

from hearth.models.mediapipe.frame import Frame
from hearth.models.mediapipe.mesh import (
    MIN_PRESENCE,
    MOST_FACES,
    POINTS,
    Face,
    MeshTrack,
    Wanted,
)
from hearth.models.mediapipe.model import MediaPipeModel
from hearth.models.mediapipe.streams import Turn
from hearth.tasks.mediapipe import shapes
from hearth.tasks.mediapipe.faces import CONFIDENCE, RANGE
from hearth.tasks.mediapipe.frames import COORDINATES, Seen, frame_task
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
TRACKING_CONFIDENCE = Option(
    "min_tracking_confidence",
    "float",
    MIN_PRESENCE,
    "leave out faces whose points are less certain than this, and follow them no further",
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
OPTIONS = (MOST, CONFIDENCE, TRACKING_CONFIDENCE, RANGE, SMOOTH, COORDINATES)
"""Of tasks that follow faces."""


def wanted_of(call: Call) -> Wanted:
    """Which faces a request with OPTIONS wants."""
    return Wanted(
        max_faces=call.options[MOST.name],
        min_confidence=call.options[CONFIDENCE.name],
        min_presence=call.options[TRACKING_CONFIDENCE.name],
        which=call.options[RANGE.name],
        smooth=call.options[SMOOTH.name] == "true",
    )


def face_of(face: Face, seen: Seen, call: Call) -> dict[str, Any]:
    """A face as JSON has it."""
    return {**shapes.points("points", face.points, seen, call), **outline_of(face, seen, call)}


def outline_of(face: Face, seen: Seen, call: Call) -> dict[str, Any]:
    """What JSON tells of a face beside its points."""
    return {**shapes.box(face.box, seen, call), "presence": round(face.presence, 4)}


async def _find(
    model: MediaPipeModel, frame: Frame, turn: Turn[MeshTrack] | None, call: Call
) -> list[Face]:
    return await model.mesh.find(frame, turn, wanted=wanted_of(call), ticket=call.ticket)


def _describe(found: list[Face], seen: Seen, call: Call) -> Mapping[str, Any]:
    return {"faces": [face_of(face, seen, call) for face in found], "count": len(found)}


FACE_MESH = frame_task(
    "face_mesh",
    f"the faces in a picture: {POINTS} points each, in three dimensions",
    find=_find,
    describe=_describe,
    track=MeshTrack,
    options=OPTIONS,
    limits={"points": str(POINTS)},
)
