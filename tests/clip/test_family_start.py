"""How a node with BioCLIP comes up: cached, cut off, with wrong data, and beside another one."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

import family_kit
from clip_kit import pictures
from family_kit import BIOCLIP, SPECIES, TREE
from hearth.contract import ml_service_pb2 as pb
from hub_kit import HubServer
from node_kit import NodeThread, stub_of, talk

PHOTO = pictures()["photo.jpg"]
VECTORS = "embeddings/txt_emb_species.npy"


@pytest.fixture(scope="module")
def bioclip(tmp_path_factory) -> family_kit.Model:
    return family_kit.bioclip(tmp_path_factory.mktemp("bioclip") / "bioclip-2")


@pytest.fixture
def served(hub: HubServer, bioclip: family_kit.Model) -> Iterator[HubServer]:
    """A hub with the model and the names of species."""
    hub.add_repository(BIOCLIP, bioclip.folder)
    family_kit.species(hub, bioclip)
    return hub


def node_on(hub: HubServer, data_dir: Path, **more: Any) -> NodeThread:
    flags = {
        "services": "bioclip",
        "bioclip.backend": "torch",
        "batch_size": 4,  # some sizes are measured sooner than all
        "hub.endpoint": hub.url,
        "hub.retry_seconds": 0.1,
        "data_dir": data_dir,
        **more,
    }
    derived = flags.pop("derived", True)
    return NodeThread(derived=derived, **flags)


async def classified(node: NodeThread) -> pb.InferResponse:
    requests = [
        pb.InferRequest(correlation_id="1", task="bioclip_classify", payload=PHOTO),
        pb.InferRequest(correlation_id="2", task="bioclip_image_embed", payload=PHOTO),
    ]
    async with stub_of(node.node) as stub:
        got = {answer.correlation_id: answer for answer in await talk(stub, requests)}
    assert not got["2"].error.code  # it needs no labels
    return got["1"]


async def labels_of(node: NodeThread) -> Any:
    answer = await classified(node)
    assert not answer.error.code, answer.error.message
    return orjson.loads(answer.result)["labels"]


def texts_run(node: NodeThread) -> int:
    return node.node.models["bioclip"].require().queues[1].statistics().items


def slot_of(node: NodeThread) -> Any:
    return node.node.models["bioclip"]


async def settled(node: NodeThread) -> None:
    """Until all that is derived is there; on the node's own loop."""
    node._do(node.node.wait_until(lambda: slot_of(node).artifacts_ready))


async def test_a_start_with_everything_here_needs_no_network_and_computes_nothing(served, tmp_path):
    with node_on(served, tmp_path) as node:
        first = await labels_of(node)
    served.forget()
    with node_on(served, tmp_path, **{"hub.offline": True}) as node:
        assert await labels_of(node) == first
        assert texts_run(node) <= 1  # the word of the warm-up, where nothing is measured
    assert served.count() == 0


async def test_vectors_that_fit_are_taken_and_not_computed(served, bioclip, tmp_path):
    with node_on(served, tmp_path) as node:
        # The proof takes a few texts, the measuring of batches a few more.
        shown = slot_of(node).model.metadata["labels.tree_of_life"]
        assert shown == str(len(SPECIES))
        assert await labels_of(node)
    assert meta_of(tmp_path)["origin"] == "shipped"


def meta_of(data_dir: Path) -> Any:
    """What is noted of the species' vectors."""
    [path] = (data_dir / "bioclip").rglob("tree_of_life.meta.json")
    return orjson.loads(path.read_bytes())


async def test_vectors_of_another_model_are_made_anew(served, bioclip, tmp_path):
    with node_on(served, tmp_path / "right") as node:
        right = await labels_of(node)
    for dim in (24, 12):
        wrong = np.random.default_rng(0).standard_normal((dim, len(SPECIES))).astype(np.float32)
        family_kit.species(served, bioclip, shipped=wrong)
        with node_on(served, tmp_path / f"wrong-{dim}") as node:
            got = await labels_of(node)
        assert [row["label"] for row in got] == [row["label"] for row in right]
        assert meta_of(tmp_path / f"wrong-{dim}")["origin"] == "computed"


@pytest.mark.parametrize("how", ["cut", "truncated", "corrupt"])
async def test_a_broken_download_of_labels_holds_up_nothing_else_and_is_mended(
    served, tmp_path, how
):
    if how == "cut":
        served.cut(TREE, VECTORS, after=200, times=50)
    elif how == "truncated":
        served.truncate(TREE, VECTORS, 500)
    else:
        served.corrupt(TREE, VECTORS)
    with node_on(served, tmp_path, derived=False) as node:
        node._do(node.node.wait_until(lambda: "TreeOfLife" in slot_of(node).reason))
        answer = await classified(node)
        assert answer.error.code == pb.ERROR_CODE_UNAVAILABLE
        served.mend()
        await settled(node)
        assert await labels_of(node)


async def test_a_damaged_index_is_made_again(served, tmp_path):
    with node_on(served, tmp_path) as node:
        first = await labels_of(node)
    for part in ("vectors", "names", "meta"):
        [path] = (tmp_path / "bioclip").rglob(f"*.{part}.*")
        whole = path.read_bytes()
        path.write_bytes(whole[:-20])
        with node_on(served, tmp_path) as node:
            assert await labels_of(node) == first
        assert path.stat().st_size >= len(whole) - 8  # the meta tells when it was made


async def test_two_nodes_that_start_on_one_empty_folder_both_come_up(served, tmp_path):
    nodes = [node_on(served, tmp_path) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        started = list(pool.map(lambda node: node.__enter__(), nodes))
    try:
        first, second = [await labels_of(node) for node in started]
    finally:
        for node in started:
            node.__exit__()
    assert first == second


async def test_half_precision_keeps_what_is_likeliest(served, tmp_path, monkeypatch):
    for module in ("making.builder", "making.label_store", "classifier"):
        monkeypatch.setattr(f"hearth.families.clip.labels.{module}.LARGE", len(SPECIES) - 1)
    with node_on(served, tmp_path / "whole") as node:
        whole = await labels_of(node)
    flags = {"bioclip.label_vectors": "float16"}
    with node_on(served, tmp_path / "half", **flags) as node:
        half = await labels_of(node)
    assert meta_of(tmp_path / "whole")["dtype"] == "float32"
    assert meta_of(tmp_path / "half")["dtype"] == "float16"
    assert [row["label"] for row in half] == [row["label"] for row in whole]
