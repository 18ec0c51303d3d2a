"""Real files over a real socket: what clients get is what the reference gives."""

from pathlib import Path

import numpy as np
import orjson
import pytest
import skimage

from batch_kit import until_measured
from clip_kit import (
    TEXTS,
    cosine,
    decoded,
    pictures,
    reference_image_vectors,
    reference_text_vectors,
)
from hearth.contract import ml_service_pb2 as pb
from node_kit import NodeThread, stub_of, talk

PHOTOS = Path(skimage.__file__).parent / "data"
EXACT = 0.9999


def image(payload: bytes, cid: str, task: str = "clip_image_embed", **meta: str) -> pb.InferRequest:
    # The label is wrong on purpose, as clients of the field send it.
    return pb.InferRequest(
        correlation_id=cid, task=task, payload=payload, payload_mime="image/jpeg", meta=meta
    )


def text(payload: str, cid: str, task: str = "clip_embed", **meta: str) -> pb.InferRequest:
    return pb.InferRequest(
        correlation_id=cid, task=task, payload=payload.encode(), payload_mime="text/plain",
        meta=meta,
    )  # fmt: skip


@pytest.fixture(scope="module", params=["onnxrt", "torch"])
def either(request, tiny_export, tiny_folder, tmp_path_factory):
    """The same model on both engines, each in a node of its own."""
    model = tiny_export if request.param == "onnxrt" else tiny_folder
    # Some sizes of batches are measured sooner than all.
    flags = {"services": "clip", "clip.backend": request.param, "clip.model": str(model),
             "clip.templates": "single", "batch_size": 4}  # fmt: skip
    with NodeThread(**flags, data_dir=tmp_path_factory.mktemp("data")) as node:
        yield node


async def answers(node: NodeThread, requests: list[pb.InferRequest]) -> dict[str, pb.InferResponse]:
    async with stub_of(node.node) as stub:
        got = await talk(stub, requests)
    assert not [answer.error for answer in got if answer.error.code]
    assert len(got) == len(requests)
    return {answer.correlation_id: answer for answer in got}


async def test_image_vectors_are_those_of_open_clip_for_every_format_and_size(either, tiny_module):
    files = pictures()
    got = await answers(either, [image(payload, name) for name, payload in files.items()])
    wanted = reference_image_vectors(tiny_module, [decoded(payload) for payload in files.values()])
    for name, vector in zip(files, wanted, strict=True):
        answer = orjson.loads(got[name].result)
        assert got[name].result_mime == "application/json;schema=embedding_v1"
        assert answer["dim"] == len(answer["vector"]) == 16
        assert cosine(np.array(answer["vector"]), vector) >= EXACT, name


async def test_text_vectors_are_those_of_open_clip(either, tiny_module):
    got = await answers(either, [text(t, str(i)) for i, t in enumerate(TEXTS)])
    wanted = reference_text_vectors(tiny_module, tuple(f"a photo of a {t}" for t in TEXTS))
    for index, vector in enumerate(wanted):
        answer = orjson.loads(got[str(index)].result)
        assert cosine(np.array(answer["vector"]), vector) >= EXACT, TEXTS[index]


async def test_both_names_of_the_text_task_and_the_raw_form_give_one_vector(either):
    got = await answers(
        either,
        [
            text("a cat", "json"),
            text("a cat", "alias", "clip_text_embed"),
            text("a cat", "raw", accept="application/octet-stream"),
        ],
    )
    plain, alias = (
        np.array(orjson.loads(got[name].result)["vector"], np.float32) for name in ("json", "alias")
    )
    raw = np.frombuffer(got["raw"].result, "<f4")
    assert got["raw"].result_mime == "application/octet-stream"
    assert got["raw"].meta["dim"] == "16"
    assert cosine(plain, raw) > 0.999999 and cosine(plain, alias) > 0.999999


async def test_classes_and_scenes_come_best_first_with_probabilities(node):
    photo = (PHOTOS / "astronaut.png").read_bytes()
    got = await answers(
        node,
        [
            image(photo, "classes", "clip_classify", topk="7"),
            image(photo, "all", "clip_classify", topk="5000"),
            image(photo, "scenes", "clip_scene_classify"),
        ],
    )
    classes = orjson.loads(got["classes"].result)["labels"]
    scores = [label["score"] for label in classes]
    assert len(classes) == 7 and scores == sorted(scores, reverse=True)
    everything = orjson.loads(got["all"].result)["labels"]
    assert len(everything) == 1000 and abs(sum(e["score"] for e in everything) - 1) < 1e-3
    assert len(orjson.loads(got["scenes"].result)["labels"]) == 3
    assert got["classes"].result_mime == "application/json;schema=labels_v1"
    assert got["classes"].meta["labels_count"] == "7"


async def test_text_is_read_from_a_page_beside_other_requests(node):
    page = (PHOTOS / "page.png").read_bytes()
    got = await answers(node, [image(page, "page", "ocr"), text("a cat", "text")])
    answer = orjson.loads(got["page"].result)
    assert answer["count"] == len(answer["items"]) > 5
    assert "Region-based segmentation" in {item["text"] for item in answer["items"]}
    assert all(
        isinstance(number, int) for item in answer["items"] for xy in item["box"] for number in xy
    )


async def test_bad_files_fail_alone(node):
    photo = (PHOTOS / "coffee.png").read_bytes()
    requests = [
        image(b"", "empty"), image(b"no image at all", "text"), image(photo[:5000], "cut"),
        image(photo, "good"), text("x", "not text", "clip_image_embed"),
        pb.InferRequest(correlation_id="latin", task="clip_embed", payload=b"caf\xe9"),
    ]  # fmt: skip
    async with stub_of(node.node) as stub:
        got = {answer.correlation_id: answer for answer in await talk(stub, requests)}
    assert not got.pop("good").error.code
    assert {name: answer.error.code for name, answer in got.items()} == dict.fromkeys(got, 1)
    assert all("\n" not in answer.error.message for answer in got.values())


async def test_capabilities_tell_what_is_really_in_use(node):
    from google.protobuf.empty_pb2 import Empty

    await until_measured(*node.node.models["clip"].require().queues)
    async with stub_of(node.node) as stub:
        parts = {c.service_name: c async for c in stub.StreamCapabilities(Empty())}
    clip = parts["clip"]
    assert clip.runtime == "onnxrt" and list(clip.precisions) == ["fp32"]
    assert clip.extra["provider"] == "CPUExecutionProvider" and clip.extra["device"] == "cpu"
    assert list(clip.model_ids) == ["tiny"]
    assert {task.limits["max_batch"] for task in clip.tasks} == {clip.extra["max_batch"]}
    for queue in ("clip-image", "clip-text"):
        assert clip.extra[f"curve.{queue}"].startswith("1: ")
        assert int(clip.extra[f"max_batch.{queue}"]) >= int(clip.extra["max_batch"])
    assert {task.name for task in clip.tasks} == {
        "clip_classify", "clip_scene_classify", "clip_image_embed", "clip_embed", "clip_text_embed",
        "smartclip_scene_classify", "smartclip_image_embed", "smartclip_text_embed",
    }  # fmt: skip
    assert [task.name for task in parts["ocr"].tasks] == ["ocr"]


async def test_a_node_that_can_not_reach_the_hub_serves_on_and_says_so(tmp_path):
    from google.protobuf.empty_pb2 import Empty

    from hearth.node import InferenceNode
    from hearth.settings import load

    flags = {"host": "127.0.0.1", "port": 0, "mdns.enabled": False, "data_dir": tmp_path / "data",
             "hub.endpoint": "http://127.0.0.1:9"}  # fmt: skip
    async with InferenceNode(load(flags, environment={}, config=Path("/dev/null"))) as lonely:
        await lonely.wait_until(
            lambda: lonely.status == "ready" and lonely.models["clip"].state == "absent"
        )
        async with stub_of(lonely) as stub:
            capability = await stub.GetCapabilities(Empty())
            assert capability.extra["clip.state"] == "absent"
            assert "can't reach the model hub" in capability.extra["clip.reason"]
            assert "\n" not in capability.extra["clip.reason"]
            [answer] = await talk(stub, [image((PHOTOS / "page.png").read_bytes(), "1", "ocr")])
            assert answer.result_schema == "ocr_v1"
