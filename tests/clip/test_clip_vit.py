"""ViT-B-32, the model that most nodes will run, with random weights: still open_clip's vectors."""

import asyncio

import numpy as np
import orjson
import pytest

import clip_kit
from clip_kit import TEXTS, cosine, decoded, pictures
from hearth.backends import Placement
from hearth.contract import ml_service_pb2 as pb
from hearth.families.clip import openclip
from hearth.families.clip.model import ClipModel
from node_kit import NodeThread, stub_of, talk

# Exporting it takes torch half a minute, more where others work beside it.
pytestmark = pytest.mark.timeout(300)

NEAR = 0.9999
PICTURES = pictures()
PROMPTS = {text: f"a photo of a {text}" for text in TEXTS}


@pytest.fixture(scope="module")
def expected(vit_b_32):
    """open_clip's vectors, by the name of the picture or by the text."""
    module, _ = vit_b_32
    images = clip_kit.reference_image_vectors(module, [decoded(p) for p in PICTURES.values()])
    texts = clip_kit.reference_text_vectors(module, tuple(PROMPTS.values()))
    return dict(zip((*PICTURES, *PROMPTS), (*images, *texts), strict=True))


async def test_over_the_wire_they_are_open_clips_vectors(vit_b_32, expected, tmp_path):
    _, folder = vit_b_32
    images = [
        pb.InferRequest(correlation_id=name, task="clip_image_embed", payload=payload)
        for name, payload in PICTURES.items()
    ]
    texts = [
        pb.InferRequest(correlation_id=text, task="clip_embed", payload=text.encode())
        for text in TEXTS
    ]
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    flags = {"services": "clip", "clip.model": str(folder), "clip.max_batch_size": 1,
             "clip.labels": str(tmp_path / "labels.txt")}  # fmt: skip
    with NodeThread(derived=False, **flags, data_dir=tmp_path) as node:
        async with stub_of(node.node) as stub:
            answers = {each.correlation_id: each for each in await talk(stub, images + texts)}
    told = {name: orjson.loads(answer.result) for name, answer in answers.items()}
    assert {answer["dim"] for answer in told.values()} == {512}
    near({name: np.array(answer["vector"]) for name, answer in told.items()}, expected)


async def test_with_torch_they_are_open_clips_vectors(vit_b_32, expected):
    module, folder = vit_b_32
    config = openclip.architecture_config("ViT-B-32")
    checkpoint = openclip.Checkpoint("ViT-B-32", config, folder)
    placement = Placement("cpu", "torch")
    model = openclip.describe(module, checkpoint)
    parts = openclip.torch_parts(model, "ViT-B-32", placement, ())
    model = ClipModel(parts, reader=clip_kit.ImageReader(178_956_970))
    try:
        images = await asyncio.gather(*map(model.embed_image, PICTURES.values()))
        texts = await model.embed_texts(list(PROMPTS.values()))
    finally:
        model.close()
    near(dict(zip((*PICTURES, *PROMPTS), (*images, *texts), strict=True)), expected)


def near(found, expected):
    """All are there, and each is what open_clip gives."""
    assert found.keys() == expected.keys()
    cosines = {name: cosine(vector, expected[name]) for name, vector in found.items()}
    assert min(cosines.values()) >= NEAR, cosines
    # They are told apart, or all of this would show nothing.
    assert cosine(expected["photo.jpg"], expected["one-pixel.png"]) < 0.99
    assert cosine(expected[TEXTS[1]], expected[TEXTS[2]]) < 0.99
