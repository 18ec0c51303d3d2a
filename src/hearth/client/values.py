"""Answers as Python's values: vectors, labels, lines of text, faces.

Coordinates are pixels of the upright picture; vectors are float32.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hearth.client.messages import Outcome
from hearth.client.pin import MODEL

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
    """What was recognised, the likeliest first."""

    labels: tuple[Label, ...]
    model_id: str

    @property
    def best(self) -> Label:
        """The likeliest; raises IndexError where there is none."""
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
        """All of it, a line each."""
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
    """The answer as the class of its schema, else its JSON, else its bytes.

    Of ``compose`` a mapping of the entries' values, without those that failed. Raises
    ValueError where an answer isn't what its schema says.
    """
    if outcome.parts:
        return {
            entry: value_of(part) for entry, part in outcome.parts.items() if part.error is None
        }
    read = _READERS.get(outcome.schema)
    if outcome.schema == "embedding_v1" and not outcome.is_json:
        return _raw_embedding(outcome)
    if not outcome.is_json:
        return outcome.body
    told = outcome.json()
    if read is None:
        return told
    try:
        return read(told)
    except (KeyError, TypeError) as error:
        raise ValueError(f"the answer is no {outcome.schema}: {error!r}") from None


def _raw_embedding(outcome: Outcome) -> Embedding:
    """Little-endian float32, which nodes of hearth give for ``accept``."""
    import numpy as np

    return Embedding(np.frombuffer(outcome.body, "<f4"), outcome.meta.get(MODEL, ""))


def _embedding(told: Any) -> Embedding:
    return Embedding(_array(told["vector"]), told.get("model_id", ""))


def _labels(told: Any) -> Labels:
    labels = tuple(Label(each["label"], each["score"]) for each in told["labels"])
    return Labels(labels, told.get("model_id", ""))


def _texts(told: Any) -> Texts:
    lines = tuple(
        TextLine(each["text"], each["confidence"], _array(each["box"])) for each in told["items"]
    )
    return Texts(lines, told.get("model_id", ""))


def _faces(told: Any) -> Faces:
    return Faces(tuple(map(_face, told["faces"])), told.get("model_id", ""))


def _face(told: Any) -> Face:
    landmarks, embedding = told.get("landmarks"), told.get("embedding")
    return Face(
        _array(told["bbox"]),
        told["confidence"],
        _array(landmarks).reshape(-1, 2) if landmarks else None,
        _array(embedding) if embedding else None,
    )


def _array(numbers: Any) -> "NDArray[np.float32]":
    import numpy as np

    return np.asarray(numbers, dtype=np.float32)


_READERS: dict[str, Callable[[Any], Any]] = {
    "embedding_v1": _embedding,
    "labels_v1": _labels,
    "ocr_v1": _texts,
    "face_v1": _faces,
}
