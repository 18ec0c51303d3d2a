"""BioCLIP, SigLIP 2 and smart_classify over a real socket, all of it from the tests' hub."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import orjson
import pytest
import skimage
from google.protobuf import empty_pb2
from PIL import Image

import clip_kit
import family_kit
from batch_kit import until
from clip_kit import cosine, decoded, pictures
from family_kit import SIGLIP, SPECIES, letter_ids, prompt_of, tensor_meta, tensor_of
from hearth.contract import ml_service_pb2 as pb
from hearth.families.clip.labels.sets.bundled import scenes
from hearth.families.clip.tasks.smart import ANIMAL_LIKE
from hearth.media import ImageReader
from hub_kit import HubServer
from node_kit import NodeThread, stub_of, talk

CAT = (Path(skimage.__file__).parent / "data" / "chelsea.png").read_bytes()
PICTURES = pictures()
SIGLIP_ID = "siglip2_base_patch16_224_image_v1"
BIOCLIP_ID = "bioclip2_224_image_v1"
EXACT = 0.9999


@pytest.fixture(scope="module")
def bioclip(tmp_path_factory) -> family_kit.Model:
    return family_kit.bioclip(tmp_path_factory.mktemp("bioclip") / "bioclip-2")


@pytest.fixture(scope="module")
def siglip(tmp_path_factory) -> family_kit.Model:
    return family_kit.siglip(tmp_path_factory.mktemp("siglip") / SIGLIP)


@pytest.fixture(scope="module")
def node(bioclip, siglip, tiny_export, tmp_path_factory) -> Iterator[NodeThread]:
    """CLIP and SigLIP as ONNX files, BioCLIP on torch: all of it fetched from the hub."""
    exports = tmp_path_factory.mktemp("exports")
    with HubServer() as hub:
        hub.add_repository("org/tiny", tiny_export)
        hub.add_repository("immich-app/ViT-B-16-SigLIP2__webli",
                           clip_kit.export(siglip.folder, exports / "siglip"))  # fmt: skip
        hub.add_repository(family_kit.BIOCLIP, bioclip.folder)
        family_kit.species(hub, bioclip)
        flags = {
            "services": "clip,bioclip,siglip",
            "clip.model": "org/tiny",
            "clip.templates": "single",
            "batch_size": 8,
            "bioclip.backend": "torch",
            "hub.endpoint": hub.url,
            "data_dir": tmp_path_factory.mktemp("data"),
        }
        with NodeThread(**flags) as running:
            yield running


def ask(task: str, payload: bytes, cid: str = "1", **meta: str) -> pb.InferRequest:
    mime = "text/plain" if "text" in task or task == "bioclip_embed" else "image/jpeg"
    return pb.InferRequest(
        correlation_id=cid, task=task, payload=payload, payload_mime=mime, meta=meta
    )


async def answers(node: NodeThread, *requests: pb.InferRequest) -> list[pb.InferResponse]:
    async with stub_of(node.node) as stub:
        got = await talk(stub, requests)
    assert not [answer.error for answer in got if answer.error.code]
    return sorted(got, key=lambda answer: answer.correlation_id)


async def vector(node: NodeThread, request: pb.InferRequest) -> Any:
    [answer] = await answers(node, request)
    return np.array(orjson.loads(answer.result)["vector"])


async def refusal(node: NodeThread, request: pb.InferRequest) -> tuple[grpc.StatusCode, str]:
    async with stub_of(node.node) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await talk(stub, [request])
    return error.value.code(), error.value.details() or ""


# --- vectors --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["photo.jpg", "rotated-by-exif.jpg", "transparent.png"])
@pytest.mark.parametrize("task", ["bioclip_image_embed", "semantic_image_embed"])
async def test_pictures_get_the_vectors_of_open_clip(node, bioclip, siglip, task, name):
    model = bioclip if task.startswith("bioclip") else siglip
    [expected] = model.image_vectors([decoded(PICTURES[name])])
    assert cosine(await vector(node, ask(task, PICTURES[name])), expected) > EXACT


async def test_a_semantic_text_is_embedded_as_it_is(node, siglip):
    text = "two dogs on a beach"
    [expected] = siglip.text_vectors(letter_ids(text))
    assert cosine(await vector(node, ask("semantic_text_embed", text.encode())), expected) > EXACT


async def test_a_long_semantic_text_is_cut_to_64_tokens(node, siglip):
    text = "word " * 40
    [expected] = siglip.text_vectors(letter_ids(text.strip()))
    assert cosine(await vector(node, ask("semantic_text_embed", text.encode())), expected) > EXACT


@pytest.mark.parametrize("task", ["bioclip_embed", "bioclip_text_embed"])
async def test_a_name_goes_into_bioclips_prompt(node, bioclip, task):
    tokens = clip_kit.import_open_clip().SimpleTokenizer(context_length=77)
    [expected] = bioclip.text_vectors(tokens(["a photo of a Felis catus"]).numpy())
    assert cosine(await vector(node, ask(task, b"Felis catus")), expected) > EXACT


async def test_texts_and_pictures_of_a_model_carry_the_same_id(node):
    got = await answers(
        node,
        ask("semantic_text_embed", b"a cat", "1"),
        ask("semantic_image_embed", CAT, "2"),
        ask("bioclip_embed", b"a cat", "3"),
        ask("bioclip_image_embed", CAT, "4"),
        ask("bioclip_classify", CAT, "5"),
    )
    ids = [orjson.loads(answer.result)["model_id"] for answer in got]
    assert ids == [SIGLIP, SIGLIP, "bioclip-2", "bioclip-2", "bioclip-2"]
    assert [answer.meta["lumen.model.id"] for answer in got] == ids


# --- the tensor fast path -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "preprocess_id", "method"),
    [
        ("semantic_image_embed", SIGLIP_ID, Image.Resampling.BILINEAR),
        ("bioclip_image_embed", BIOCLIP_ID, Image.Resampling.BICUBIC),
    ],
)
async def test_a_prepared_picture_gets_the_vector_of_the_file(
    node, bioclip, siglip, task, preprocess_id, method
):
    model = siglip if task.startswith("semantic") else bioclip
    tensor = tensor_of(decoded(CAT), model.preprocess, method)
    prepared = await vector(node, ask(task, tensor.tobytes(), **tensor_meta(preprocess_id)))
    assert cosine(prepared, await vector(node, ask(task, CAT))) > 0.999


@pytest.mark.parametrize(
    ("task", "preprocess_id"),
    [("semantic_image_embed", SIGLIP_ID), ("bioclip_image_embed", BIOCLIP_ID)],
)
async def test_any_numbers_go_in_as_they_are(node, bioclip, siglip, task, preprocess_id):
    import torch

    model = siglip if task.startswith("semantic") else bioclip
    noise = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype("<f4")
    with torch.inference_mode():
        [expected] = model.module.encode_image(torch.from_numpy(noise), normalize=True).numpy()
    got = await vector(node, ask(task, noise.tobytes(), **tensor_meta(preprocess_id)))
    assert cosine(got, expected) > EXACT


async def test_a_prepared_picture_is_classified_as_the_file_is(node, bioclip):
    tensor = tensor_of(decoded(CAT), bioclip.preprocess, Image.Resampling.BICUBIC)
    got = await answers(
        node,
        ask("bioclip_classify", CAT, "1"),
        ask("bioclip_classify", tensor.tobytes(), "2", **tensor_meta(BIOCLIP_ID)),
    )
    names = [[row["label"] for row in orjson.loads(answer.result)["labels"]] for answer in got]
    assert names[0] == names[1]


async def test_tensors_of_different_streams_run_as_one_batch(node, monkeypatch):
    model = node.node.models["siglip"].require()
    session, queue = model._parts.floats, model.queues[0]
    real, sizes, opened = session.run, [], threading.Event()

    def run(feeds: Any) -> Any:
        sizes.append(len(feeds["image"]))
        assert opened.wait(20)
        return real(feeds)

    monkeypatch.setattr(session, "run", run)
    rng = np.random.default_rng(7)
    tensors = [rng.standard_normal((1, 3, 224, 224)).astype("<f4").tobytes() for _ in range(6)]
    meta = tensor_meta(SIGLIP_ID)
    asked = [answers(node, ask("semantic_image_embed", tensor, **meta)) for tensor in tensors]
    first = asyncio.create_task(asked[0])
    await until(lambda: queue.statistics().running == 1)
    others = [asyncio.create_task(one) for one in asked[1:]]
    await until(lambda: queue.statistics().ready == 5)
    opened.set()
    await asyncio.gather(first, *others)
    assert sizes == [1, 5]


async def test_tensors_and_files_of_many_streams_get_their_own_vectors(node, siglip):
    import torch

    rng = np.random.default_rng(1)
    tensors = [rng.standard_normal((1, 3, 224, 224)).astype("<f4").tobytes() for _ in range(24)]
    meta = tensor_meta(SIGLIP_ID)
    names = ["photo.bmp", "grey.jpg", "palette.gif", "cmyk.jpg"]

    def stream(part: int) -> list[pb.InferRequest]:
        """A stream's requests: six tensors and a file."""
        mine = range(6 * part, 6 * part + 6)
        asked = [ask("semantic_image_embed", tensors[n], str(n), **meta) for n in mine]
        return [*asked, ask("semantic_image_embed", PICTURES[names[part]], names[part])]

    parts = await asyncio.gather(*(answers(node, *stream(part)) for part in range(4)))
    together = {a.correlation_id: orjson.loads(a.result)["vector"] for part in parts for a in part}
    arrays = np.concatenate([np.frombuffer(t, "<f4").reshape(1, 3, 224, 224) for t in tensors])
    with torch.inference_mode():
        expected = siglip.module.encode_image(torch.from_numpy(arrays), normalize=True).numpy()
    for n, theirs in enumerate(expected):
        assert cosine(np.array(together[str(n)]), theirs) > EXACT


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"lumen.tensor.shape": "[1,3,384,384]"}, "shape"),
        ({"lumen.tensor.shape": "[2,3,224,224]"}, "shape"),
        ({"lumen.tensor.shape": "nonsense"}, "shape"),
        ({"lumen.tensor.dtype": "fp16"}, "fp32"),
        ({"lumen.tensor.layout": "NHWC"}, "NCHW"),
        ({"lumen.tensor.byte_order": "big"}, "little"),
        ({"lumen.preprocess.id": BIOCLIP_ID}, SIGLIP_ID),
        ({"lumen.preprocess.skip": "false"}, "skip"),
        ({"lumen.input.kind": "video"}, "image or tensor"),
    ],
)
async def test_a_tensor_of_another_kind_is_refused(node, changes, told):
    payload = bytes(4 * 3 * 224 * 224)
    meta = {**tensor_meta(SIGLIP_ID), **changes}
    code, details = await refusal(node, ask("semantic_image_embed", payload, **meta))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert told in details


@pytest.mark.parametrize("payload", [b"", bytes(4), bytes(4 * 3 * 224 * 224 + 4), CAT])
async def test_a_tensor_of_another_length_is_refused(node, payload):
    code, details = await refusal(
        node, ask("semantic_image_embed", payload, **tensor_meta(SIGLIP_ID))
    )
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "bytes" in details


async def test_a_tensor_with_nan_spares_its_neighbours(node):
    bad = np.zeros((1, 3, 224, 224), "<f4")
    bad[0, 1, 5, 5] = np.nan
    meta = tensor_meta(SIGLIP_ID)
    requests = [ask("semantic_image_embed", np.full_like(bad, n / 10).tobytes(), str(n), **meta)
                for n in range(3)]  # fmt: skip
    async with stub_of(node.node) as stub:
        got = await talk(
            stub, [*requests, ask("semantic_image_embed", bad.tobytes(), "bad", **meta)]
        )
    codes = {answer.correlation_id: answer.error.code for answer in got}
    assert codes == {"0": 0, "1": 0, "2": 0, "bad": pb.ERROR_CODE_INVALID_ARGUMENT}


async def test_a_task_without_the_fast_path_refuses_tensors(node):
    payload = bytes(4 * 3 * 224 * 224)
    code, details = await refusal(node, ask("clip_image_embed", payload, **tensor_meta(SIGLIP_ID)))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "no tensors" in details


# --- species --------------------------------------------------------------------------------


def expected_species(bioclip: family_kit.Model) -> Any:
    """Probabilities in float64, by the formula of CLIP's paper."""
    tokens = clip_kit.import_open_clip().SimpleTokenizer(context_length=77)
    texts = [prompt_of(ranks, common) for ranks, common in SPECIES]
    labels = bioclip.text_vectors(tokens(texts).numpy()).astype(np.float64)
    [image] = bioclip.image_vectors([decoded(CAT)]).astype(np.float64)
    logits = float(bioclip.module.logit_scale.detach().exp()) * labels @ image
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


async def test_species_come_with_their_common_names_best_first(node, bioclip):
    scores = expected_species(bioclip)
    best = np.argsort(-scores)[:3]
    [answer] = await answers(node, ask("bioclip_classify", CAT))
    rows = orjson.loads(answer.result)["labels"]
    ranks, common = SPECIES[best[0]]
    name = " ".join(ranks[5:])
    assert rows[0]["label"] == (f"{name} ({common})" if common else name)
    assert [row["score"] for row in rows] == pytest.approx(scores[best], abs=1e-4)
    assert answer.meta["labels_count"] == "3"


@pytest.mark.parametrize(
    ("rank", "at"), [("kingdom", 0), ("class", 2), ("family", 4), ("genus", 5)]
)
async def test_a_ranks_probability_is_the_sum_of_what_is_below(node, bioclip, rank, at):
    sums: dict[str, float] = {}
    for (ranks, _), score in zip(SPECIES, expected_species(bioclip), strict=True):
        sums[ranks[at]] = sums.get(ranks[at], 0) + score
    [answer] = await answers(node, ask("bioclip_classify", CAT, rank=rank, topk="50"))
    got = {row["label"]: row["score"] for row in orjson.loads(answer.result)["labels"]}
    assert got == pytest.approx(sums, abs=1e-4)


async def test_an_unknown_rank_is_refused(node):
    code, details = await refusal(node, ask("bioclip_classify", CAT, rank="colour"))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "species" in details


@pytest.mark.parametrize("labels", [json.dumps(["a cat", "a dog"]), "a cat, a dog", "a cat\na dog"])
@pytest.mark.parametrize("task", ["bioclip_classify", "clip_classify"])
async def test_a_client_may_bring_its_own_labels(node, bioclip, tiny_module, task, labels):
    module = bioclip.module if task.startswith("bioclip") else tiny_module
    image = (
        bioclip.image_vectors([decoded(CAT)])
        if task.startswith("bioclip")
        else clip_kit.reference_image_vectors(tiny_module, [decoded(CAT)])
    )
    texts = clip_kit.reference_text_vectors(module, ("a photo of a a cat", "a photo of a a dog"))
    logits = float(module.logit_scale.detach().exp()) * (texts @ image[0]).astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum()
    [answer] = await answers(node, ask(task, CAT, labels=labels))
    got = {row["label"]: row["score"] for row in orjson.loads(answer.result)["labels"]}
    assert got == pytest.approx({"a cat": expected[0], "a dog": expected[1]}, abs=1e-3)


@pytest.mark.parametrize(
    "labels", ["[]", "[1, 2]", "[", ",", json.dumps(["x"] * 3 + [""] * 9 + [7]), '{"heron": ["a"]}']
)
async def test_labels_that_are_none_are_refused(node, labels):
    code, _ = await refusal(node, ask("bioclip_classify", CAT, labels=labels))
    assert code == grpc.StatusCode.INVALID_ARGUMENT


async def test_rank_and_own_labels_exclude_each_other(node):
    code, _ = await refusal(node, ask("bioclip_classify", CAT, labels="a,b", rank="genus"))
    assert code == grpc.StatusCode.INVALID_ARGUMENT


# --- smart_classify -------------------------------------------------------------------------


async def test_three_requests_for_one_picture_run_the_image_tower_once(node):
    noise = np.random.default_rng(5).integers(0, 256, (64, 64, 3), np.uint8)
    buffer = clip_kit._saved(Image.fromarray(noise), "PNG")
    model = node.node.models["clip"].require()
    before = model.queues[0].statistics().items
    tasks = ["smart_classify", "clip_image_embed", "clip_classify"]
    await answers(node, *(ask(task, buffer, str(n)) for n, task in enumerate(tasks)))
    assert model.queues[0].statistics().items - before == 1


async def smart(node: NodeThread, payload: bytes, **meta: str) -> tuple[Any, str]:
    [answer] = await answers(node, ask("smart_classify", payload, **meta))
    return orjson.loads(answer.result), answer.meta["source"]


async def test_a_scene_without_animals_is_the_answer(node, monkeypatch):
    monkeypatch.setattr("hearth.families.clip.tasks.smart.ANIMAL_LIKE", frozenset())
    body, source = await smart(node, CAT)
    [scenes] = await answers(node, ask("clip_scene_classify", CAT))
    assert source == "scene_classification"
    assert body == orjson.loads(scenes.result)


@pytest.mark.parametrize("name", ["smart_classify", "smartclip_classify"])
async def test_a_scene_with_an_animal_is_bioclips_affair(node, monkeypatch, name):
    [scenes] = await answers(node, ask("clip_scene_classify", CAT))
    scene = orjson.loads(scenes.result)["labels"][0]["label"]
    monkeypatch.setattr("hearth.families.clip.tasks.smart.ANIMAL_LIKE", frozenset({scene}))
    [answer] = await answers(node, ask(name, CAT))
    [species] = await answers(node, ask("bioclip_classify", CAT))
    assert answer.meta["source"] == "bioclip_classification"
    assert orjson.loads(answer.result) == orjson.loads(species.result)


async def test_both_models_look_at_one_decoded_picture(node, monkeypatch):
    rng = np.random.default_rng(6)
    payload = clip_kit._saved(Image.fromarray(rng.integers(0, 256, (300, 200, 3), np.uint8)), "PNG")
    opened = []
    real = ImageReader._open

    def counting(reader: ImageReader, content: bytes) -> Any:
        opened.append(content)
        return real(reader, content)

    monkeypatch.setattr("hearth.families.clip.tasks.smart.ANIMAL_LIKE", frozenset(scenes().labels))
    monkeypatch.setattr(ImageReader, "_open", counting)
    _, source = await smart(node, payload)
    assert source == "bioclip_classification"
    assert opened == [payload]


async def test_a_broken_picture_is_the_clients_fault(node):
    code, _ = await refusal(node, ask("smart_classify", b"no picture"))
    assert code == grpc.StatusCode.INVALID_ARGUMENT


def test_every_animal_like_scene_is_a_scene():
    assert set(scenes().labels) >= ANIMAL_LIKE


@pytest.mark.parametrize(
    ("alias", "task"),
    [
        ("smartclip_image_embed", "clip_image_embed"),
        ("smartclip_scene_classify", "clip_scene_classify"),
        ("smartclip_bioclassify", "bioclip_classify"),
    ],
)
async def test_family_b_has_names_of_its_own(node, alias, task):
    got = await answers(node, ask(alias, CAT, "1"), ask(task, CAT, "2"))
    assert got[0].result == got[1].result


# --- what the node says of itself -----------------------------------------------------------


async def capabilities(node: NodeThread) -> dict[str, pb.Capability]:
    async with stub_of(node.node) as stub:
        parts = [part async for part in stub.StreamCapabilities(empty_pb2.Empty())]
        merged = await stub.GetCapabilities(empty_pb2.Empty())
    return {**{part.service_name: part for part in parts}, "merged": merged}


async def test_two_engines_are_mixed_in_one_capability(node):
    told = await capabilities(node)
    assert told["bioclip"].runtime == "torch"
    assert told["siglip"].runtime == told["clip"].runtime == "onnxrt"
    assert told["merged"].runtime == "mixed"
    assert list(told["siglip"].model_ids) == [SIGLIP]
    assert told["bioclip"].extra["labels.tree_of_life"] == str(len(SPECIES))


async def test_the_fast_path_is_told_where_it_is(node):
    told = await capabilities(node)
    found = {
        task.name: task.tensor_preprocess_id
        for part in ("clip", "bioclip", "siglip")
        for task in told[part].tasks
        if task.tensor_preprocess_id
    }
    assert found == {
        "bioclip_classify": BIOCLIP_ID,
        "smartclip_bioclassify": BIOCLIP_ID,
        "bioclip_image_embed": BIOCLIP_ID,
        "semantic_image_embed": SIGLIP_ID,
    }
    for part in told.values():
        for task in part.tasks:
            fast = bool(task.tensor_preprocess_id)
            assert task.tensor_batching_supported == fast
            assert ("application/octet-stream" in task.input_mimes) == fast


async def test_a_task_of_a_service_that_is_off_is_unknown_and_says_so(tiny_export, tmp_path):
    flags = {"services": "clip", "clip.model": str(tiny_export), "clip.templates": "single"}
    with NodeThread(**flags, data_dir=tmp_path, derived=False) as alone:
        for task, service in (("smart_classify", "bioclip"), ("semantic_text_embed", "siglip")):
            code, details = await refusal(alone, ask(task, b"x"))
            assert code == grpc.StatusCode.NOT_FOUND
            assert f"doesn't serve {service}" in details
