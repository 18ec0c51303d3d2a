"""ViT-B-32, the model that most nodes will run, with random weights: still open_clip's vectors."""

import asyncio

import numpy as np
import orjson
import pytest

import clip_kit
from clip_kit import TEXTS, cosine, decoded, pictures
from hearth.contract import ml_service_pb2 as pb
from hearth.models.clip import openclip
from hearth.models.clip.model import ClipModel
from node_kit import NodeThread, stub_of, talk

NEAR = 0.9999
PICTURES = pictures()


@pytest.fixture(scope="module")
def expected(vit_b_32):
    module, _ = vit_b_32
    images = clip_kit.reference_image_vectors(module, [decoded(p) for p in PICTURES.values()])
    return images, clip_kit.reference_text_vectors(module)


@pytest.fixture(scope="module", params=["onnxrt", "torch"])
def model(request, vit_b_32, tmp_path_factory):
    module, folder = vit_b_32
    data = tmp_path_factory.mktemp("data")
    if request.param == "onnxrt":
        with clip_kit.loaded(data, model=str(folder)) as made:
            yield made
        return
    config = openclip.architecture_config("ViT-B-32")
    checkpoint = openclip.Checkpoint("ViT-B-32", config, folder)
    parts = openclip.torch_parts(openclip.describe(module, checkpoint), "ViT-B-32", "cpu", ())
    made = ClipModel(parts, reader=clip_kit.ImageReader(178_956_970))
    yield made
    made.close()


async def test_pictures_of_every_kind_have_open_clips_vectors(model, expected):
    vectors = await asyncio.gather(*(model.embed_image(payload) for payload in PICTURES.values()))
    cosines = dict(zip(PICTURES, map(cosine, vectors, expected[0]), strict=True))
    assert min(cosines.values()) >= NEAR, cosines


async def test_texts_have_open_clips_vectors(model, expected):
    vectors = await model.embed_texts(TEXTS)
    cosines = dict(zip(TEXTS, map(cosine, vectors, expected[1]), strict=True))
    assert min(cosines.values()) >= NEAR, cosines


async def test_over_the_wire_they_are_open_clips_vectors_too(vit_b_32, expected, tmp_path):
    _, folder = vit_b_32
    requests = [
        pb.InferRequest(correlation_id=name, task="clip_image_embed", payload=payload)
        for name, payload in PICTURES.items()
    ]
    flags = {"services": "clip", "clip.model": str(folder), "clip.templates": "single"}
    with NodeThread(derived=False, **flags, data_dir=tmp_path) as node:
        async with stub_of(node.node) as stub:
            answers = {answer.correlation_id: answer for answer in await talk(stub, requests)}
    for name, vector in zip(PICTURES, expected[0], strict=True):
        answer = orjson.loads(answers[name].result)
        assert answer["dim"] == 512
        assert cosine(np.array(answer["vector"]), vector) >= NEAR, name
