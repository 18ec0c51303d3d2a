"""A backend is one file, and one line that registers it: a node serves a model on it."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import pytest
from google.protobuf.empty_pb2 import Empty

import clip_kit
from hearth.backends.registry import BACKENDS, backend_of, open_session, register
from hearth.errors import ModelUnavailable
from node_kit import NodeThread, ask, stub_of, talk
from toy_backend import ToyBackend, write_toy

DIM, SIDE, CONTEXT = 16, 32, 77
PHOTO = clip_kit.pictures()["photo.jpg"]


@pytest.fixture(autouse=True)
def toy() -> Iterator[None]:
    register(ToyBackend())
    yield
    del BACKENDS["toy"]


@pytest.fixture
def folder(tiny_export: Path, tmp_path: Path) -> Path:
    """A CLIP of toys: what lies around the graphs is a real export's."""
    made = tmp_path / "toy-clip"
    shutil.copytree(tiny_export, made, ignore=shutil.ignore_patterns("*.onnx*"))
    random = np.random.default_rng(0)
    image = random.normal(size=(3 * SIDE * SIDE, DIM)).astype(np.float32)
    text = random.normal(size=(CONTEXT, DIM)).astype(np.float32)
    write_toy(made / "visual" / "model.toy", image, (3, SIDE, SIDE))
    write_toy(made / "textual" / "model.toy", text, (CONTEXT,), np.int64)
    return made


def test_a_file_is_opened_by_the_engine_of_its_ending(tmp_path):
    path = write_toy(tmp_path / "model.toy", np.ones((3, 4), np.float32), (3,))
    assert backend_of(path).name == "toy"
    assert open_session(path).run({"x": np.ones((2, 3), np.float32)})["y"].tolist() == [[3] * 4] * 2
    with pytest.raises(ModelUnavailable, match=r"no engine opens files that end in \.abacus"):
        backend_of(tmp_path / "model.abacus")


def test_a_node_serves_a_model_on_it(folder):
    async def answers(node: NodeThread) -> tuple[list[float], list[float]]:
        async with stub_of(node.node) as stub:
            capability = await stub.GetCapabilities(Empty())
            assert (capability.runtime, capability.extra["clip.device"]) == ("toy", "cpu")
            picture = ask(PHOTO, "1", "clip_image_embed", payload_mime="image/jpeg")
            text = ask(b"red square", "2", "clip_text_embed", payload_mime="text/plain")
            told = {part.correlation_id: part for part in await talk(stub, [picture, text])}
        return tuple(orjson.loads(told[name].result)["vector"] for name in "12")

    flags = {"services": "clip", "clip.backend": "toy", "clip.model": str(folder)}
    with NodeThread(**flags) as node:
        image, text = asyncio.run(answers(node))
    with clip_kit.loaded(folder.parent, backend="toy", model=str(folder), labels=()) as model:
        pixels = model.prepare_image(PHOTO).array
        with np.load(folder / "visual" / "model.toy") as content:
            expected = pixels.reshape(-1).astype(np.float32) @ content["weights"]
        assert clip_kit.cosine(np.array(image), expected) > 0.99999
        assert np.allclose(
            asyncio.run(model.embed_text("a photo of a red square")), text, atol=1e-5
        )


def test_a_folder_without_its_graphs_says_which_are_missing(tiny_export, tmp_path):
    made = clip_kit.source(tmp_path, backend="toy", model=str(tiny_export))
    fault = f"{tiny_export} holds no visual/model.toy for toy"
    assert made.describe().fault == fault
    with pytest.raises(ModelUnavailable, match=r"no visual/model\.toy"):
        made.load()


def test_a_model_of_the_hub_has_no_files_for_it(tmp_path):
    made = clip_kit.source(tmp_path, backend="toy", model="org/name")
    assert made.describe().fault == "org/name: toy runs models of local folders alone"
