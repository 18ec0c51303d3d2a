"""The tasks of the service ``face``: where faces are, and whose."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from hearth.catalog import FieldInfo, SchemaInfo
from hearth.errors import InvalidInput
from hearth.families.face import parameters as p
from hearth.families.face.faces import Box, DetectedFace, Embedded, Landmarks, Wanted
from hearth.media import ImagePayload
from hearth.media.formats import PICTURES
from hearth.tasks import render
from hearth.tasks.answer import Result
from hearth.tasks.images import parse_image
from hearth.tasks.options import Option
from hearth.tasks.task import Call, Task

if TYPE_CHECKING:  # the model brings OpenCV along
    from hearth.families.face.model import FaceModel

FACE_V1 = SchemaInfo(
    "face_v1",
    "faces in a picture, the surest first",
    (
        FieldInfo(
            "faces",
            "items",
            fields=(
                FieldInfo("bbox", "box", "in pixels of the upright picture"),
                FieldInfo("confidence", "score"),
                FieldInfo("landmarks", "landmarks", "eyes, nose, corners of the mouth"),
                FieldInfo("embedding", "vector", f"unit vector, {p.DIM} numbers", optional=True),
            ),
        ),
        render.COUNT,
        render.MODEL,
    ),
    nothing="no face",
    value="Faces",
)

# Beside our own names, those that Lumen's clients, immich and insightface have for them.
MIN_CONFIDENCE = Option(
    "min_confidence",
    "float",
    None,
    "leave out faces that are less certain than this; unset: the node's face.min_confidence",
    aliases=(
        "detection_confidence_threshold",
        "conf_threshold",
        "confidence_threshold",
        "score_threshold",
        "min_score",
        "minScore",
        "det_thresh",
    ),
    least=0,
    most=1,
)
NMS_THRESHOLD = Option(
    "nms_threshold",
    "float",
    p.NMS_THRESHOLD,
    "of two boxes that share more of their union than this, one is left out",
    aliases=("iou", "iou_threshold", "nms_thresh"),
    least=0,
    most=1,
)
MAX_FACES = Option(
    "max_faces",
    "int",
    0,
    "the most prominent faces alone (box area times confidence); 0 or less: all",
    aliases=("max_num",),
)
MIN_SIZE = Option(
    "min_face_size",
    "float",
    0.0,
    "leave out faces whose box has a shorter side than this, in pixels of the picture",
    aliases=("face_size_min",),
    least=0,
)
MAX_SIZE = Option(
    "max_face_size",
    "float",
    None,
    "leave out faces whose box has a longer side than this, in pixels of the picture",
    aliases=("face_size_max",),
    least=0,
)
DETECTION = (MIN_CONFIDENCE, NMS_THRESHOLD, MAX_FACES, MIN_SIZE, MAX_SIZE)

ALIGNED = Option(
    "aligned",
    "flag",
    False,
    "true: the picture is an aligned face itself, 112×112 pixels (or square: it is resized)",
)
FACES = Option(
    "faces",
    "text",
    "",
    "embed these: face_v1, a list of objects with landmarks (ten numbers), or the five points of "
    "one face; with it nothing is detected",
    aliases=("landmarks",),
)

_FARTHEST = 1e6
"""Pixels from the picture's corner that a landmark may be."""

# MediaPipe's keypoints have the middle of the mouth: nothing to align a face by.
_NO_LANDMARKS = (
    "each of the faces needs landmarks, both eyes, nose and corners of the mouth: send the answer "
    "of face_detect, not of face_detection or another task"
)


class Given(NamedTuple):
    """A face as a client tells it."""

    landmarks: Landmarks
    box: Box | None
    confidence: float


class Asked(NamedTuple):
    """A picture, and which of its faces are to be embedded."""

    file: ImagePayload
    given: list[Given] | None = None
    """Faces that the client has found; None: those that are to be found."""
    is_aligned: bool = False


def given_faces(text: str) -> list[Given]:
    """Read the faces that a client sends in the option ``FACES``; raises InvalidInput."""
    try:
        listed = orjson.loads(text)
    except ValueError as error:
        raise InvalidInput(f"faces is no JSON: {error}") from None
    if isinstance(listed, dict):
        listed = listed.get("faces", [listed])
    if not isinstance(listed, list):
        raise InvalidInput("faces is neither face_v1 nor a list")
    if _are_points(listed):
        listed = [{"landmarks": listed}]
    if len(listed) > p.MOST_FACES:
        raise InvalidInput(f"faces has {len(listed)} entries; at most {p.MOST_FACES} are taken")
    return [_given(face) for face in listed]


def _are_points(points: Sequence[Any]) -> bool:
    """Tell whether a list is the landmarks of one face, and no list of faces."""
    return bool(points) and all(
        isinstance(entry, int | float | list) or (isinstance(entry, dict) and "x" in entry)
        for entry in points
    )


def _given(face: Any) -> Given:
    if not isinstance(face, dict):
        raise InvalidInput("each of the faces is an object with landmarks")
    if face.get("landmarks") is None:
        raise InvalidInput(_NO_LANDMARKS)
    landmarks = _numbers(face.get("landmarks"))
    if len(landmarks) != 2 * p.POINTS:
        raise InvalidInput(
            f"the landmarks of a face are {2 * p.POINTS} numbers, x and y of {p.POINTS} points"
        )
    box = None if face.get("bbox") is None else _box(face["bbox"])
    confidence = face.get("confidence", 1.0)
    if not isinstance(confidence, int | float) or not 0 <= confidence <= 1:
        raise InvalidInput("the confidence of a face is a number from 0 to 1")
    return Given(landmarks, box, float(confidence))


def _box(box: Any) -> Box:
    match _numbers(box):
        case (left, top, right, bottom):
            return left, top, right, bottom
    raise InvalidInput("the bbox of a face is four numbers: x1, y1, x2, y2")


def _numbers(numbers: Any) -> tuple[float, ...]:
    """Flatten numbers, or points as [x, y] or {"x": …, "y": …}, as numbers; raises InvalidInput."""
    if not isinstance(numbers, list):
        raise InvalidInput("landmarks and bbox are lists of numbers")
    flat: list[Any] = []
    for entry in numbers:
        if isinstance(entry, dict):
            flat += (entry.get("x"), entry.get("y"))
        else:
            flat += entry if isinstance(entry, list) else [entry]
    for value in flat:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidInput("landmarks and bbox hold something else than numbers")
        if not (isfinite(value) and abs(value) <= _FARTHEST):
            raise InvalidInput(f"{value:g} is no coordinate in a picture")
    return tuple(map(float, flat))


def _wanted(model: "FaceModel", options: Mapping[str, Any]) -> Wanted:
    confidence = options[MIN_CONFIDENCE.name]
    return Wanted(
        min_confidence=model.min_confidence if confidence is None else confidence,
        nms_threshold=options[NMS_THRESHOLD.name],
        max_faces=options[MAX_FACES.name],
        min_size=options[MIN_SIZE.name],
        max_size=options[MAX_SIZE.name],
    )


def _parse_to_embed(model: "FaceModel", call: Call) -> Asked:
    file = parse_image(model, call)
    is_aligned = call.options[ALIGNED.name]
    text = call.options[FACES.name]
    if text and is_aligned:
        raise InvalidInput("an aligned face has its landmarks: send aligned or faces, not both")
    return Asked(file, given_faces(text) if text else None, is_aligned)


async def _detect(model: "FaceModel", file: ImagePayload, call: Call) -> Sequence[DetectedFace]:
    return await model.detect(file, _wanted(model, call.options), call.context)


async def _recognise(model: "FaceModel", file: ImagePayload, call: Call) -> list[Embedded]:
    return await model.recognise(file, _wanted(model, call.options), call.context)


async def _embed(model: "FaceModel", asked: Asked, call: Call) -> list[Embedded]:
    if asked.is_aligned:
        return await model.embed(asked.file, None, call.context)
    if asked.given is None:
        return await _recognise(model, asked.file, call)
    landmarks = [face.landmarks for face in asked.given]
    embedded = await model.embed(asked.file, landmarks, call.context)
    return [
        found._replace(
            face=found.face._replace(box=given.box or found.face.box, confidence=given.confidence)
        )
        for found, given in zip(embedded, asked.given, strict=True)
    ]


def _describe(face: DetectedFace) -> dict[str, Any]:
    return {"bbox": face.box, "confidence": face.confidence, "landmarks": face.landmarks}


def _render_faces(model: "FaceModel", faces: Sequence[DetectedFace], _: Call) -> Result:
    return _render(model, [_describe(face) for face in faces], {})


def _render_embedded(model: "FaceModel", embedded: list[Embedded], _: Call) -> Result:
    faces = [{**_describe(face), "embedding": vector} for face, vector in embedded]
    return _render(model, faces, {"dim": str(p.DIM)})


def _render(model: "FaceModel", faces: list[dict[str, Any]], meta: Mapping[str, str]) -> Result:
    content = {"faces": faces, "count": len(faces), "model_id": model.model_id}
    meta = {"count": str(len(faces)), **meta, render.MODEL_ID: model.model_id}
    return render.as_json(content, FACE_V1, meta)


_LIMITS = {"faces_in_an_answer": str(p.MOST_FACES)}

FACE_TASKS: tuple[Task, ...] = (
    Task(
        name="face_detect",
        service="face",
        summary="the faces in a picture: boxes and five landmarks each",
        inputs=PICTURES,
        schema=FACE_V1,
        parse=parse_image,
        call=_detect,
        render=_render_faces,
        options=DETECTION,
        limits=_LIMITS,
    ),
    Task(
        name="face_embed",
        service="face",
        summary="whose face it is, as a vector: of the most prominent face of a picture, of faces "
        "that are told, or of an aligned face",
        inputs=PICTURES,
        schema=FACE_V1,
        parse=_parse_to_embed,
        call=_embed,
        render=_render_embedded,
        # Clients of family B send what they have cut out about one face.
        options=(*(replace(one, default=1) if one is MAX_FACES else one for one in DETECTION),
                 ALIGNED, FACES),
        limits={**_LIMITS, "embedding_dim": str(p.DIM)},
    ),
    Task(
        name="face_detect_and_embed",
        aliases=("face_recognition",),
        service="face",
        summary="the faces in a picture, and whose each is, as a vector",
        inputs=PICTURES,
        schema=FACE_V1,
        parse=parse_image,
        call=_recognise,
        render=_render_embedded,
        options=DETECTION,
        limits={**_LIMITS, "embedding_dim": str(p.DIM)},
    ),
)  # fmt: skip
