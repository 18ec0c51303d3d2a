"""Faces over a real socket: every task and alias, what clients send, and what they are refused."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import orjson
import pytest
from google.protobuf.empty_pb2 import Empty
from PIL import Image

from batch_kit import until, until_measured
from face_kit import Mark, WatchedLoader, drawn, expected, file, pack
from hearth.batching import Limit
from hearth.contract import ml_service_pb2 as pb
from hearth.families.face.alignment import aligned
from hearth.families.face.preprocess import PICTURES_AHEAD
from hearth.families.face.tasks import FACE_TASKS
from hearth.models.options import QueueOptions
from hearth.node import InferenceNode
from hearth.settings import load
from node_kit import NodeThread, stub_of, talk

SIZE = (1000, 800)
MARKS = (Mark(3, 3, 1.5), Mark(12, 5, 3), Mark(6, 9, 2))
PICTURE = file(drawn(SIZE, MARKS, noise=1), "BMP")
MIME = "application/json;schema=face_v1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return pack(tmp_path_factory.mktemp("faces") / "toy_l")


@pytest.fixture(scope="module")
def node(folder, tmp_path_factory) -> Iterator[NodeThread]:
    flags = {"services": "face", "face.model": str(folder)}
    with NodeThread(**flags, data_dir=tmp_path_factory.mktemp("data")) as running:
        yield running


def ask(
    task: str, payload: bytes = PICTURE, cid: str = "1", mime: str = "image/jpeg", **meta: str
) -> pb.InferRequest:
    # The label is wrong on purpose, as clients of the field send it.
    return pb.InferRequest(
        correlation_id=cid, task=task, payload=payload, payload_mime=mime, meta=meta
    )


async def answer(node: NodeThread, request: pb.InferRequest) -> tuple[Any, pb.InferResponse]:
    """The answer's JSON, and the answer."""
    async with stub_of(node.node) as stub:
        parts = await talk(stub, [request])
    assert not parts[0].error.code, parts[0].error.message
    return orjson.loads(b"".join(part.result for part in parts)), parts[0]


async def faces(node: NodeThread, task: str, payload: bytes = PICTURE, **meta: str) -> list[Any]:
    content, _ = await answer(node, ask(task, payload, **meta))
    found: list[Any] = content["faces"]
    return found


async def refusal(node: NodeThread, request: pb.InferRequest) -> tuple[grpc.StatusCode, str]:
    async with stub_of(node.node) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await talk(stub, [request])
    return error.value.code(), error.value.details() or ""


async def capability(stub: Any) -> pb.Capability:
    """What the node says of the service."""
    parts = [part async for part in stub.StreamCapabilities(Empty())]
    [face] = [part for part in parts if part.service_name == "face"]
    return face


def sizes(found: list[Any]) -> list[int]:
    """How wide each face is, by the reach of its mark."""
    return sorted(round(face["bbox"][2] - face["bbox"][0]) for face in found)


# --- the schema -----------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["face_detect", "face_detect_and_embed", "face_recognition"])
async def test_the_answer_is_face_v1_to_the_letter(node, task):
    content, message = await answer(node, ask(task))
    assert list(content) == ["faces", "count", "model_id"]
    assert content["count"] == 3 and isinstance(content["count"], int)
    assert content["model_id"] == "toy_l"
    keys = ["bbox", "confidence", "landmarks"]
    for face in content["faces"]:
        assert list(face) == keys if task == "face_detect" else [*keys, "embedding"]
        assert len(face["bbox"]) == 4 and len(face["landmarks"]) == 10
        assert all(isinstance(number, float) for number in (*face["bbox"], *face["landmarks"]))
        assert 0 <= face["confidence"] <= 1
        if task != "face_detect":
            assert len(face["embedding"]) == 512
            assert abs(np.linalg.norm(face["embedding"]) - 1) < 1e-5
    assert message.result_mime == MIME and message.result_schema == "face_v1"
    assert message.meta["count"] == "3" and message.meta["lumen.model.id"] == "toy_l"
    assert message.meta.get("dim", "") == ("" if task == "face_detect" else "512")


async def test_every_face_is_where_it_was_drawn(node):
    for face in await faces(node, "face_detect"):
        off = []
        for mark in MARKS:
            should = expected(SIZE, mark)
            at = np.concatenate([should.box.clip(0, SIZE).ravel(), should.landmarks.ravel()])
            off.append(np.abs(np.array([*face["bbox"], *face["landmarks"]]) - at).max())
        assert min(off) < 0.1


async def test_a_picture_without_faces_is_no_error(node):
    empty = file(Image.new("RGB", (300, 200)))
    for task in ("face_detect", "face_embed", "face_recognition"):
        content, message = await answer(node, ask(task, empty))
        assert content == {"faces": [], "count": 0, "model_id": "toy_l"}
        assert message.meta["count"] == "0"


async def test_pictures_come_in_every_format_and_lying_on_their_side(node):
    image = drawn((640, 480), MARKS[:1])
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = image.transpose(Image.Transpose.ROTATE_90)
    kinds = {
        "plain": (file(image), "image/png"),
        "jpeg": (file(image, "JPEG", quality=95, subsampling=0), "image/png"),
        "webp": (file(image, "WEBP", lossless=True), ""),
        "turned": (file(turned, exif=exif), "image/png"),
        "raw": (image.tobytes(), "image/x-raw;format=rgb;width=640;height=480"),
    }
    should = expected((640, 480), MARKS[0]).box.ravel()
    for name, (payload, mime) in kinds.items():
        content, _ = await answer(node, ask("face_recognition", payload, mime=mime))
        [face] = content["faces"]
        assert np.abs(np.array(face["bbox"]) - should).max() < (2 if name == "jpeg" else 0.1), name


# --- options --------------------------------------------------------------------------------

OPTIONS = {
    "more than all are sure of": ({"min_confidence": "1"}, 0),
    "detection_confidence_threshold": ({"detection_confidence_threshold": "1.0"}, 0),
    "conf_threshold": ({"conf_threshold": "1"}, 0),
    "min_score": ({"min_score": "1"}, 0),
    "doubtful ones too": ({"min_confidence": "0.3"}, 3),
    "one": ({"max_faces": "1"}, 1),
    "two": ({"max_faces": "2.0"}, 2),
    "all, as Lumen says it": ({"max_faces": "-1"}, 3),
    "large ones": ({"min_face_size": "180"}, 2),
    "large ones, as Lumen says it": ({"face_size_min": "180.0", "face_size_max": "1000"}, 2),
    "small ones": ({"max_face_size": "210"}, 2),
    "overlapping ones": ({"nms_threshold": "1", "min_confidence": "0.3"}, 6),
    "overlapping ones, as others say it": ({"iou": "1", "min_confidence": "0.3"}, 6),
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("task", ["face_detect", "face_recognition"])
async def test_a_request_may_say_which_faces_it_wants(node, task, name):
    meta, count = OPTIONS[name]
    found = await faces(node, task, **meta)
    assert len(found) == count
    if name == "one":
        assert sizes(found) == [300]
    if name == "small ones":
        assert sizes(found) == [150, 200]


BAD = [
    ("face_detect", {"min_confidence": "1.5"}, "is more than 1"),
    ("face_detect", {"nms_threshold": "much"}, "is not a number"),
    ("face_recognition", {"max_faces": "1.5"}, "whole number"),
    ("face_recognition", {"min_face_size": "-3"}, "is less than 0"),
    ("face_embed", {"aligned": "perhaps"}, "choose from"),
    ("face_embed", {"aligned": "true"}, "square"),
    ("face_embed", {"aligned": "1", "faces": "[[1,2],[3,4],[5,6],[7,8],[9,9]]"}, "not both"),
    ("face_embed", {"faces": "{"}, "no JSON"),
    ("face_embed", {"faces": "7"}, "neither face_v1 nor a list"),
    ("face_embed", {"faces": '["a"]'}, "an object with landmarks"),
    ("face_embed", {"faces": '[{"bbox":[1,2,3,4]}]'}, "send the answer of face_detect"),
    ("face_embed", {"faces": '{"faces":[{"box":[1],"keypoints":{}}]}'}, "not of face_detection"),
    ("face_embed", {"faces": '[{"landmarks":3}]'}, "lists of numbers"),
    ("face_embed", {"faces": "[1,2,3]"}, "10 numbers"),
    ("face_embed", {"faces": '[1,2,3,4,5,6,7,8,9,"x"]'}, "an object with landmarks"),
    ("face_embed", {"faces": "[1,2,3,4,5,6,7,8,9,1e9]"}, "no coordinate"),
    ("face_embed", {"faces": "[1,2,3,4,5,6,7,8,9,true]"}, "something else"),
    ("face_embed", {"faces": "[5,5,5,5,5,5,5,5,5,5]"}, "can't be aligned"),
    ("face_embed", {"landmarks": '[{"x":1}]'}, "something else"),
    ("face_embed", {"faces": '[{"landmarks":[1,2,3,4,5,6,7,8,9,9],"bbox":[1,2]}]'}, "four numbers"),
    ("face_embed", {"faces": '[{"landmarks":[1,2,3,4,5,6,7,8,9,9],"confidence":7}]'}, "0 to 1"),
    ("face_detect", {"lumen.input.kind": "tensor"}, "no tensors"),
]  # fmt: skip


@pytest.mark.parametrize(("task", "meta", "reason"), BAD)
async def test_what_makes_no_sense_is_refused(node, task, meta, reason):
    code, details = await refusal(node, ask(task, **meta))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert reason in details and "\n" not in details


@pytest.mark.parametrize("task", ["face_detect", "face_embed", "face_recognition"])
@pytest.mark.parametrize("payload", [b"", b"no picture", PICTURE[:2000]])
async def test_what_is_no_picture_is_refused(node, task, payload):
    code, details = await refusal(node, ask(task, payload))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "image" in details


async def test_bad_requests_fail_alone_on_a_stream(node):
    requests = [
        ask("face_recognition", b"no picture", "bad"), ask("face_recognition", cid="good"),
        ask("face_embed", cid="worse", faces="[]]"), ask("face_detect", cid="fine"),
    ]  # fmt: skip
    async with stub_of(node.node) as stub:
        got = {part.correlation_id: part for part in await talk(stub, requests)}
    assert {cid: part.error.code for cid, part in got.items()} == {
        "bad": 1, "good": 0, "worse": 1, "fine": 0
    }  # fmt: skip


# --- embedding alone ------------------------------------------------------------------------


async def test_of_a_picture_the_most_prominent_face_is_embedded(node):
    recognised = await faces(node, "face_recognition")
    [found] = await faces(node, "face_embed")
    largest = max(recognised, key=lambda face: face["bbox"][2] - face["bbox"][0])
    assert found == largest
    assert len(await faces(node, "face_embed", max_faces="0")) == 3


async def test_faces_that_were_found_earlier_can_be_embedded_later(node):
    """What face_detect tells goes back as it came, whole or as lists of points."""
    recognised = await faces(node, "face_recognition")
    content, _ = await answer(node, ask("face_detect"))
    assert await faces(node, "face_embed", faces=orjson.dumps(content).decode()) == recognised
    only = [{"landmarks": face["landmarks"]} for face in content["faces"]]
    plain = await faces(node, "face_embed", faces=orjson.dumps(only).decode())
    assert [face["embedding"] for face in plain] == [face["embedding"] for face in recognised]
    assert [face["confidence"] for face in plain] == [1, 1, 1]
    points = np.reshape(only[1]["landmarks"], (5, 2)).tolist()
    named = [{"x": x, "y": y} for x, y in points]
    for told in (points, named, only[1]["landmarks"]):
        [one] = await faces(node, "face_embed", landmarks=orjson.dumps(told).decode())
        assert one["embedding"] == recognised[1]["embedding"]


async def test_an_aligned_face_is_embedded_as_it_is(node):
    [*_, last] = await faces(node, "face_recognition")
    crop = aligned(np.asarray(drawn(SIZE, MARKS, noise=1)), tuple(last["landmarks"]))
    content, message = await answer(
        node, ask("face_embed", file(Image.fromarray(crop)), aligned="true")
    )
    [face] = content["faces"]
    assert face["embedding"] == last["embedding"]
    assert face["bbox"] == [0, 0, 112, 112] and face["confidence"] == 1
    assert message.meta["dim"] == "512" and message.result_mime == MIME


# --- the node -------------------------------------------------------------------------------


async def test_capabilities_tell_the_tasks_with_their_options_and_limits(node):
    await until_measured(*node.node.models["face"].require().queues)
    async with stub_of(node.node) as stub:
        face = await capability(stub)
    assert face.service_name == "face" and face.protocol_version == "1.0.0"
    assert list(face.model_ids) == ["toy_l"] and face.runtime == "onnxrt"
    assert face.extra["state"] == "ready" and face.extra["embedding_dim"] == "512"
    assert face.extra["curve.face-recognition"].startswith("1: ")
    tasks = {task.name: task for task in face.tasks}
    assert list(tasks) == ["face_detect", "face_embed", "face_detect_and_embed", "face_recognition"]
    assert dict(tasks["face_recognition"].limits) == dict(tasks["face_detect_and_embed"].limits)
    limits = tasks["face_embed"].limits
    assert limits["min_confidence"] == "float, at least 0, at most 1"
    assert limits["max_faces"] == "int, default 1" and limits["embedding_dim"] == "512"
    assert tasks["face_detect"].limits["max_faces"] == "int, default 0"
    assert tasks["face_detect"].limits["faces_in_an_answer"] == "1000"
    assert not tasks["face_detect"].tensor_preprocess_id
    assert "image/x-raw" in tasks["face_detect"].input_mimes


async def test_the_least_confidence_may_be_a_setting(folder, tmp_path):
    flags = {"services": "face", "face.model": str(folder), "face.min_confidence": 1.0}
    with NodeThread(**flags, data_dir=tmp_path) as strict:
        assert await faces(strict, "face_detect") == []
        assert len(await faces(strict, "face_detect", min_confidence="0.5")) == 3


def settings_of(data_dir: Path, **more: Any) -> Any:
    flags = {"host": "127.0.0.1", "port": 0, "mdns.enabled": False, "data_dir": data_dir,
             "services": "face", "hub.endpoint": "http://127.0.0.1:9", **more}  # fmt: skip
    return load(flags, environment={}, config=Path("/dev/null"))


@pytest.mark.parametrize("lacking", ["all of it", "detection", "recognition"])
async def test_without_weights_the_tasks_are_absent_and_the_reason_is_told(lacking, tmp_path):
    more, state, reason = {}, "absent", "can't reach the model hub"
    if lacking != "all of it":
        half = pack(tmp_path / "half")
        (half / lacking / "model.onnx").unlink()
        more, state = {"face.model": str(half)}, "failed"
        reason = f"{half} holds no graph for {lacking}"
    async with InferenceNode(settings_of(tmp_path, **more)) as lonely:
        slot = lonely.models["face"]
        await lonely.wait_until(lambda: lonely.status == "ready" and slot.state == state)
        async with stub_of(lonely) as stub:
            face = await capability(stub)
            assert not face.tasks and not face.model_ids
            assert face.extra["state"] == state and reason in face.extra["reason"]
            for name in FACE_TASKS[0].names:
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await talk(stub, [ask(name)])
                assert error.value.code() == grpc.StatusCode.UNAVAILABLE
                assert f"face is {state}" in (error.value.details() or "")


async def test_ten_clients_at_once_share_batches_of_recognition(folder, tmp_path):
    gate, batches = threading.Event(), []

    def watch(batch: Any, _: Any) -> None:
        batches.append(len(batch))
        gate.wait(30)

    options = QueueOptions(max_batch=32, cache_entries=Limit(64))
    source = WatchedLoader(folder, options=options, recognition=watch)
    async with InferenceNode(settings_of(tmp_path), loaders=[source], tasks=FACE_TASKS) as node:
        gate.set()
        await node.wait_until(lambda: node.status == "ready")
        gate.clear()
        batches.clear()
        queue = node.models["face"].require().queues[2]
        before = queue.statistics()

        async def client(number: int) -> Any:
            picture = file(drawn((400, 300), MARKS, noise=number + 1), "BMP")
            async with stub_of(node) as stub:
                [got] = await talk(stub, [ask("face_recognition", picture)])
            return orjson.loads(got.result)["faces"]

        clients = [asyncio.create_task(client(number)) for number in range(10)]
        # Two sets of pictures ahead are under way: one batch stands, and the others gather.
        await until(lambda: sum(queue.statistics()[1:3]) >= 3 * 2 * PICTURES_AHEAD)
        gate.set()
        answers = await asyncio.gather(*clients)
        after = queue.statistics()
    assert [len(answer) for answer in answers] == [3] * 10
    assert after.items - before.items == 30
    assert after.batches - before.batches <= 4 and max(batches) >= 12
    vectors = np.array([face["embedding"] for answer in answers for face in answer])
    assert len(np.unique(vectors.round(5), axis=0)) == 30
