"""From what a model gave to bytes: the schemas that several tasks share."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from hearth.catalog import JSON, RAW, FieldInfo, SchemaInfo
from hearth.tasks.answer import AnswerStream, Result
from hearth.tasks.task import Call

MODEL = FieldInfo("model_id", "name", "the model; only answers of one model can be compared")
COUNT = FieldInfo("count", "count", "length of the list")
EMBEDDING_V1 = SchemaInfo(
    "embedding_v1",
    "a unit vector",
    (
        FieldInfo("vector", "vector", "its numbers"),
        FieldInfo("dim", "count", "how many they are"),
        MODEL,
    ),
    value="Embedding",
)
LABELS_V1 = SchemaInfo(
    "labels_v1",
    "what was recognised, the likeliest first",
    (
        FieldInfo(
            "labels",
            "items",
            fields=(FieldInfo("label", "text", "its name"), FieldInfo("score", "score")),
        ),
        MODEL,
    ),
    nothing="no label",
    value="Labels",
)
MODEL_ID = "lumen.model.id"


def as_json(content: Mapping[str, Any], schema: SchemaInfo, meta: Mapping[str, str]) -> Result:
    """Write ``content`` as the JSON of a schema; arrays of numpy must be C-contiguous."""
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    # Clients compare the mime byte for byte: no space after the semicolon.
    return Result(body, f"{JSON};schema={schema.name}", schema.name, meta)


class Named(Protocol):
    """A model, as far as an answer tells of it."""

    @property
    def model_id(self) -> str: ...


def embedding(model: Named, vector: NDArray[np.float32], call: Call) -> Result:
    """Write a vector as embedding_v1: the ``render`` of its task.

    With ``accept`` = application/octet-stream it comes as raw little-endian float32,
    its length in the meta.
    """
    dim, model_id = len(vector), model.model_id
    meta = {"dim": str(dim), MODEL_ID: model_id}
    mime = call.options.get("accept", "").partition(",")[0].partition(";")[0].strip().lower()
    if mime == RAW:
        # embedding_v1 is a schema of JSON, so raw numbers have none.
        return Result(vector.astype("<f4", copy=False).tobytes(), RAW, "", meta)
    content = {"vector": np.ascontiguousarray(vector), "dim": dim, "model_id": model_id}
    return as_json(content, EMBEDDING_V1, meta)


def labels(scored: Sequence[tuple[str, float]], model_id: str) -> Result:
    """Write labels with their scores, the best first, as labels_v1."""
    content = {
        "labels": [{"label": label, "score": score} for label, score in scored],
        "model_id": model_id,
    }
    return as_json(content, LABELS_V1, {"labels_count": str(len(scored)), MODEL_ID: model_id})


def stream(_: Any, answer: AnswerStream, __: Call) -> AnswerStream:
    """Hand on an answer whose parts are rendered as they are made: the ``render`` of its task."""
    return answer
