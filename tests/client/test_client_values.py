"""Answers as values: what nodes send, right and wrong, as Python sees it."""

import json
import struct
from typing import Any

import numpy as np
import pytest

from hearth.client import Answer, Embedding, Face, Faces, Failure, Job, Labels, Outcome, Texts
from hearth.errors import (
    DeadlinePassed,
    HearthError,
    InvalidInput,
    ModelFailed,
    Unavailable,
    UnknownTask,
)

JOB = Job("task", b"")


def told(schema: str, body: Any, **fields: Any) -> Answer:
    """An answer in JSON, as a node sends it."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    mime = f"application/json;schema={schema}"
    return Answer("x", 0, "node:1", Outcome(JOB, content, mime, schema, **fields))


def raw(body: bytes) -> Answer:
    outcome = Outcome(
        JOB,
        body,
        "application/octet-stream",
        "",
        {"lumen.model.id": "m-1", "dim": str(len(body) // 4)},
    )
    return Answer("x", 0, "node:1", outcome)


def failed(code: str) -> Answer:
    return Answer("x", 0, "node:1", Outcome(JOB, error=Failure(code, "why not")))


def test_a_vector_in_json_is_float32() -> None:
    value = told("embedding_v1", {"vector": [0.5, -1, 0.25], "dim": 3, "model_id": "m-1"}).value
    assert isinstance(value, Embedding)
    assert value.vector.dtype == np.float32
    assert value.vector.tolist() == [0.5, -1.0, 0.25]
    assert value.model_id == "m-1"


def test_a_raw_vector_is_the_same_as_one_in_json() -> None:
    value = raw(struct.pack("<3f", 0.5, -1, 0.25)).value
    assert isinstance(value, Embedding)
    assert value.vector.tolist() == [0.5, -1.0, 0.25]
    assert value.model_id == "m-1"


def test_vectors_can_be_changed_in_place_however_they_came() -> None:
    for answer in (raw(struct.pack("<2f", 3, 4)), told("embedding_v1", {"vector": [3, 4]})):
        answer.value.vector[:] /= 5
        assert answer.value.vector.tolist() == [3, 4]  # an array of its own each time


def test_labels_are_in_the_nodes_order() -> None:
    body = {"labels": [{"label": "cat", "score": 0.9}, {"label": "dog", "score": 0}]}
    value = told("labels_v1", body | {"model_id": "m-1"}).value
    assert isinstance(value, Labels)
    assert [(label.name, label.score) for label in value.labels] == [("cat", 0.9), ("dog", 0.0)]
    assert value.best.name == "cat"


def test_no_labels_are_an_empty_list() -> None:
    assert told("labels_v1", {"labels": [], "model_id": "m-1"}).value.labels == ()


def test_lines_of_text_have_boxes_of_four_corners() -> None:
    box = [[0, 0], [9, 0], [9, 4], [0, 4]]
    items = [{"box": box, "text": "eins", "confidence": 1}, {"box": box, "text": "zwei",
             "confidence": 0.5}]  # fmt: skip
    value = told("ocr_v1", {"items": items, "count": 2, "model_id": "m-1"}).value
    assert isinstance(value, Texts)
    assert value.text == "eins\nzwei"
    assert value.lines[0].box.tolist() == box
    assert value.lines[1].confidence == 0.5


def test_faces_have_landmarks_and_vectors_where_the_node_sends_them() -> None:
    whole = {"bbox": [1, 2, 3, 4], "confidence": 0.9, "landmarks": list(range(10)),
             "embedding": [0.0] * 512}  # fmt: skip
    bare = {"bbox": [1, 2, 3, 4], "confidence": 0.4}
    empty = bare | {"landmarks": [], "embedding": None}
    value = told("face_v1", {"faces": [whole, bare, empty], "count": 3, "model_id": "m-1"}).value
    assert isinstance(value, Faces)
    first, *others = value.faces
    assert first.landmarks is not None and first.embedding is not None
    assert first.landmarks.shape == (5, 2) and first.landmarks[1].tolist() == [2, 3]
    assert first.embedding.shape == (512,)
    assert first.box.tolist() == [1, 2, 3, 4]
    assert all(isinstance(face, Face) for face in others)
    assert [(face.landmarks, face.embedding) for face in others] == [(None, None)] * 2


def test_an_unknown_schema_is_json_and_anything_else_bytes() -> None:
    assert told("news_v7", {"a": [1]}).value == {"a": [1]}
    assert Answer("x", 0, "n", Outcome(JOB, b"\x00\x01", "image/png")).value == b"\x00\x01"
    assert Answer("x", 0, "n", Outcome(JOB, b"", "")).value == b""


@pytest.mark.parametrize(
    ("schema", "body"),
    [
        ("embedding_v1", b"{not json"),
        ("embedding_v1", b"\xff\xfe"),
        ("embedding_v1", {"dim": 3}),
        ("embedding_v1", {"vector": ["a", "b"]}),
        ("embedding_v1", {"vector": [1, None]}),
        ("embedding_v1", {"vector": [[1, 2], [3]]}),
        ("embedding_v1", {"vector": [[1, 2], [3, 4]]}),
        ("embedding_v1", {"vector": 5}),
        ("embedding_v1", {"vector": "abc"}),
        ("embedding_v1", [1, 2]),
        ("labels_v1", {"labels": None}),
        ("labels_v1", {"labels": ["cat"]}),
        ("labels_v1", {"labels": [{"label": "cat"}]}),
        ("labels_v1", {"labels": [{"label": "cat", "score": "high"}]}),
        ("labels_v1", {"labels": [{"label": 5, "score": 0.5}]}),
        ("labels_v1", {"labels": [["cat", 0.5]]}),
        ("labels_v1", "labels"),
        ("labels_v1", None),
        ("ocr_v1", {"items": [{"text": "a", "confidence": 1}]}),
        ("ocr_v1", {"items": [{"text": "a", "confidence": 1, "box": [1, 2]}]}),
        ("ocr_v1", {"items": [{"text": None, "confidence": 1, "box": [[0, 0]] * 4}]}),
        ("face_v1", {"faces": [[1, 2, 3, 4]]}),
        ("face_v1", {"faces": ["face"]}),
        ("face_v1", {"faces": [{"bbox": [1, 2, 3, 4]}]}),
        ("face_v1", {"faces": [{"bbox": [1, 2], "confidence": 1}]}),
        ("face_v1", {"faces": [{"bbox": [1, 2, 3, 4], "confidence": 1, "landmarks": [1, 2, 3]}]}),
    ],
)
def test_a_broken_answer_is_a_value_error_of_one_line(schema: str, body: Any) -> None:
    with pytest.raises(ValueError) as told_of:
        _ = told(schema, body).value
    assert str(told_of.value) and "\n" not in str(told_of.value)


def test_a_raw_vector_that_is_cut_off_is_a_value_error() -> None:
    with pytest.raises(ValueError):
        _ = raw(b"\0" * 7).value


def test_a_value_of_the_wrong_kind_says_who_sent_what() -> None:
    with pytest.raises(ValueError, match=r"node:1 .*embedding_v1.* Labels"):
        told("embedding_v1", {"vector": [1.0]}).typed(Labels)


def test_of_a_composed_answer_the_parts_that_succeeded_are_values() -> None:
    parts = {
        "a": told("labels_v1", {"labels": [{"label": "cat", "score": 1}]}).outcome,
        "b": Outcome(JOB, error=Failure("INTERNAL", "no")),
    }
    answer = Answer("x", 0, "node:1", Outcome(JOB, parts=parts))
    assert set(answer.value) == {"a"} and answer.value["a"].best.name == "cat"
    assert answer.parts["b"].error is not None and answer.parts["b"].error.message == "no"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("INVALID_ARGUMENT", InvalidInput),
        ("NOT_FOUND", UnknownTask),
        ("UNAVAILABLE", Unavailable),
        ("RESOURCE_EXHAUSTED", Unavailable),
        ("CANCELLED", Unavailable),
        ("UNKNOWN", ModelFailed),
        ("DEADLINE_EXCEEDED", DeadlinePassed),
        ("INTERNAL", ModelFailed),
        ("77", ModelFailed),
        ("UNREADABLE", InvalidInput),
    ],
)
def test_a_failure_raises_its_class_from_value_json_and_typed(
    code: str, kind: type[HearthError]
) -> None:
    answer = failed(code)
    for look in (lambda: answer.value, answer.json, lambda: answer.typed(Labels), answer.check):
        with pytest.raises(HearthError, match="why not") as told_of:
            look()
        assert type(told_of.value) is kind
