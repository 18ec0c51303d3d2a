"""Answers as Python's values: vectors, labels, lines of text, faces.

Coordinates are pixels of the upright picture; vectors are float32.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hearth.client.messages import MODEL, Outcome
from hearth.known import SCHEMAS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DIMENSIONS = "dim"
"""The key of an answer's meta with a vector's length."""


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """A unit vector; two of the same ``model_id`` can be compared (``a.vector @ b.vector``)."""

    vector: "NDArray[np.float32]"
    """Shape (dimensions,)."""
    model_id: str


@dataclass(frozen=True, slots=True)
class Label:
    """A name, and how sure the model is of it: 0 to 1."""

    name: str
    score: float


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels that were recognised, the likeliest first."""

    labels: tuple[Label, ...]
    model_id: str

    @property
    def best(self) -> Label:
        """Likeliest label; raises IndexError where there is none."""
        return self.labels[0]


@dataclass(frozen=True, slots=True, eq=False)
class TextLine:
    """A line of text in a picture."""

    text: str
    confidence: float
    """0 to 1."""
    box: "NDArray[np.float32]"
    """Shape (4, 2): corners (x, y) from the top left, clockwise."""


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """The text in a picture."""

    lines: tuple[TextLine, ...]
    model_id: str

    @property
    def text(self) -> str:
        """All of the text, a line each."""
        return "\n".join(line.text for line in self.lines)


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A face in a picture."""

    box: "NDArray[np.float32]"
    """Shape (4,): left, top, right, bottom."""
    confidence: float
    """0 to 1."""
    landmarks: "NDArray[np.float32] | None"
    """Shape (5, 2): eyes, nose, corners of the mouth; None where they weren't looked for."""
    embedding: "NDArray[np.float32] | None"
    """Shape (512,), a unit vector; None where it wasn't asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """The faces in a picture."""

    faces: tuple[Face, ...]
    model_id: str


def value_of(outcome: Outcome) -> Any:
    """Read an answer as the class of its schema, else its JSON, else its bytes.

    A composed answer is a mapping of the entries' values, without those that failed. Raises
    ValueError where an answer isn't what its schema says.
    """
    if outcome.parts:
        return {
            entry: value_of(part) for entry, part in outcome.parts.items() if part.error is None
        }
    if not outcome.is_json:
        # Plain numbers have no schema, but their length beside them.
        return _raw_embedding(outcome) if DIMENSIONS in outcome.meta else outcome.body
    content = outcome.json()
    schema = SCHEMAS.get(outcome.schema)
    if schema is None or not schema.value:
        return content
    try:
        return _READERS[schema.value](content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the answer is no {outcome.schema}: {error!r}") from None


def _raw_embedding(outcome: Outcome) -> Embedding:
    """Read little-endian float32, which nodes of hearth give for ``accept``."""
    import numpy as np

    dimensions, size = outcome.meta[DIMENSIONS], len(outcome.body)
    if not size or size % 4 or str(size // 4) != dimensions:
        raise ValueError(f"the answer is no vector of {dimensions} numbers: {size} bytes")
    # A copy: the caller may change it, as one that came in JSON.
    vector = np.frombuffer(outcome.body, "<f4").astype(np.float32)
    if not np.isfinite(vector).all():
        raise ValueError("the answer is no vector: not all of it are numbers")
    return Embedding(vector, outcome.meta.get(MODEL, ""))


def _embedding(content: Any) -> Embedding:
    return Embedding(_array(content["vector"], 1), _text(content.get("model_id", "")))


def _labels(content: Any) -> Labels:
    labels = tuple(Label(_text(each["label"]), float(each["score"])) for each in content["labels"])
    return Labels(labels, _text(content.get("model_id", "")))


def _texts(content: Any) -> Texts:
    lines = tuple(
        TextLine(_text(each["text"]), float(each["confidence"]), _array(each["box"]).reshape(4, 2))
        for each in content["items"]
    )
    return Texts(lines, _text(content.get("model_id", "")))


def _faces(content: Any) -> Faces:
    return Faces(tuple(map(_face, content["faces"])), _text(content.get("model_id", "")))


def _face(content: Any) -> Face:
    landmarks, embedding = content.get("landmarks"), content.get("embedding")
    return Face(
        _array(content["bbox"]).reshape(4),
        float(content["confidence"]),
        _array(landmarks).reshape(-1, 2) if landmarks else None,
        _array(embedding, 1) if embedding else None,
    )


def _text(content: Any) -> str:
    if not isinstance(content, str):
        raise TypeError(f"{content!r} is no text")
    return content


def _array(numbers: Any, dimensions: int | None = None) -> "NDArray[np.float32]":
    import numpy as np

    # JSON's null would be a NaN.
    array = np.asarray(numbers, dtype=np.float32)
    if dimensions not in (None, array.ndim) or not np.isfinite(array).all():
        raise ValueError(f"numbers of the shape {array.shape}, or not all of them numbers")
    return array


_READERS: dict[str, Callable[[Any], Any]] = {
    Embedding.__name__: _embedding,
    Labels.__name__: _labels,
    Texts.__name__: _texts,
    Faces.__name__: _faces,
}
"""Readers by the class that a schema's answers are read as."""
