"""Labels that change while a node runs: read anew, and in use once their vectors are there."""

import asyncio
from pathlib import Path

import orjson
import pytest

from clip_kit import pictures
from hearth.errors import SettingsError
from hearth.node import InferenceNode
from hearth.settings import load

PHOTO = pictures()["photo.jpg"]


def labels_in(path: Path, *labels: str) -> Path:
    path.write_text("\n".join(labels), encoding="utf-8")
    return path


def running(model: Path, data: Path, labels: Path) -> InferenceNode:
    flags = {
        "host": "127.0.0.1",
        "port": 0,
        "services": "clip",
        "mdns.enabled": False,
        "clip.model": str(model),
        "clip.labels": labels,
        "batch_size": 2,
        "data_dir": data,
    }
    return InferenceNode(load(flags, environment={}, config=Path("/dev/null")))


async def classes_of(node: InferenceNode) -> set[str]:
    answer = await node.infer("clip_classify", PHOTO, topk=9)
    return {each["label"] for each in orjson.loads(answer.body)["labels"]}


async def come_to_be(node: InferenceNode, labels: set[str]) -> None:
    """Return when a node classifies with these labels; it answers all the time."""
    async with asyncio.timeout(30):
        while await classes_of(node) != labels:
            await asyncio.sleep(0.001)  # an answer from the cache gives nobody else a turn


async def test_labels_are_read_anew_and_used_once_their_vectors_are_made(tiny_export, tmp_path):
    first = labels_in(tmp_path / "first.txt", "heron", "crane")
    second = labels_in(tmp_path / "second.txt", "stork")
    async with running(tiny_export, tmp_path / "data", first) as node:
        clip = node.models["clip"]
        await node.wait_until(lambda: clip.artifacts_ready)
        assert await classes_of(node) == {"heron", "crane"}

        clip_settings = node.settings.section_of("clip").model_copy(update={"labels": second})
        await node.reload(node.settings.model_copy(update={"clip": clip_settings}))
        await come_to_be(node, {"stork"})

        labels_in(second, "ibis", "egret", "bittern")
        change = await node.reload(node.settings)
        assert change.applied == ()
        await come_to_be(node, {"ibis", "egret", "bittern"})

        second.unlink()
        with pytest.raises(SettingsError, match="can't be read"):
            await node.reload(node.settings.model_copy(update={"cache_entries": 3}))
        assert node.settings.cache_entries == 4096
        assert await classes_of(node) == {"ibis", "egret", "bittern"}
