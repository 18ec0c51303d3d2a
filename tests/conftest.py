"""Fixtures that several test modules share; each block belongs to the kit it names."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from hearth.environment import switch_off_telemetry

if TYPE_CHECKING:  # a kit is imported by the fixture that needs it, with what it needs itself
    from batch_kit import Gate
    from hearth.batching import BatchQueue, Workers
    from hub_kit import HubServer
    from lan_kit import Lan
    from node_kit import NodeThread

# Before any test imports an engine, with hearth or without it.
switch_off_telemetry()

# torch's threads, told so before it comes: toys' steps are so short that waiting for the next
# one by spinning takes as long again as the work, from all that runs beside it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A busy machine is no fault of what is tested.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile(
    "thorough", parent=hypothesis.settings.get_profile("any machine"), max_examples=2000
)
hypothesis.settings.load_profile("any machine")

# --- make check: what needs no node, no network and no large model ----------------------------

WHOLE = re.compile(
    r"^\s*(?:import|from) (?:torch|(?:node|cli|client|lan|fleet|hub|film|vision|example|clip|family"
    r"|labels|ocr|reference|media|mediapipe|mesh)_kit)\b"
    r"|^(?:async )?def test\w*\([^)]*\b"
    r"(?:tiny_\w+|vit_b_32|node|media|vision_model|hub|lan)\b",
    re.MULTILINE,
)
"""How a module tells that it takes longer: kits that it imports, fixtures that it asks for."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--unit",
        action="store_true",
        help="leave out the modules that start nodes, networks or large models",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if not config.getoption("unit") or not collection_path.match("test_*.py"):
        return None
    return bool(WHOLE.search(collection_path.read_text("utf-8"))) or None


# --- the model hub (hub_kit.py) -----------------------------------------------------------


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """A model hub of our own on loopback; hub_kit.py says what it can be told to do."""
    from hub_kit import HubServer

    with HubServer() as server:
        yield server


# --- batch queues (batch_kit.py) -----------------------------------------------------------


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A model that stands still until it is let go."""
    from batch_kit import Gate

    made = Gate()
    yield made
    made.open()


@pytest.fixture
def workers() -> Iterator[Workers]:
    """Two threads that prepare."""
    from hearth.batching import Workers

    made = Workers(2)
    yield made
    made.close()


@pytest.fixture
def queue(gate: Gate, workers: Workers) -> Iterator[BatchQueue[Any, Any]]:
    """Batches of at most four, for the gate."""
    from hearth.batching import BatchQueue

    made: BatchQueue[Any, Any] = BatchQueue(gate, name="test", max_batch=4, workers=workers)
    yield made
    gate.open()
    made.close()


# --- a LAN of network namespaces (lan_kit.py) ----------------------------------------------


@pytest.fixture(scope="session")
def lan() -> Iterator[Lan]:
    """Hosts ``node``, ``second`` and ``client`` on one LAN, for the whole session."""
    import lan_kit

    with lan_kit.lan("node", "second", "client") as hosts:
        yield hosts


# --- CLIP models (clip_kit.py) --------------------------------------------------------------


@pytest.fixture(scope="session")
def tiny_module() -> Any:
    """A tiny open_clip model with random weights, on the CPU."""
    import clip_kit

    return clip_kit.tiny_module()


@pytest.fixture(scope="session")
def tiny_folder(tiny_module: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model in a folder named ``tiny``, as open_clip publishes models."""
    import clip_kit

    return clip_kit.write_open_clip(tmp_path_factory.mktemp("open_clip") / "tiny", tiny_module)


@pytest.fixture(scope="session")
def tiny_export(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a folder of ONNX files; not to be written to."""
    import clip_kit

    return clip_kit.export(tiny_folder, tmp_path_factory.mktemp("onnx") / "tiny")


@pytest.fixture(scope="session")
def tiny_variant(
    tiny_export: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The tiny export in ``int8`` or ``fp16``, made when first asked for; not to be written to."""
    import clip_kit

    data = tmp_path_factory.mktemp("variants")
    return cache(lambda precision: clip_kit.variant(tiny_export, precision, data))


@pytest.fixture(scope="session")
def tiny_published(
    tiny_export: Path, tiny_module: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The tiny model as immich-app publishes models (graphs_kit.py); not to be written to."""
    import graphs_kit

    folder = tmp_path_factory.mktemp("published") / "tiny"
    return graphs_kit.write_published(tiny_export, tiny_module, folder)


@pytest.fixture(scope="session")
def vit_b_32(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path]]:
    """A ViT-B-32 with random weights and the folder of its ONNX files (600 MB for a while)."""
    import clip_kit

    folder = tmp_path_factory.mktemp("vit") / "ViT-B-32"
    yield clip_kit.vit_b_32(folder)
    shutil.rmtree(folder)


# --- real photographs, films and recordings (media_kit.py) ------------------------------------


@pytest.fixture(scope="session")
def media() -> Callable[[str], Path]:
    """One of media_kit.MEDIA by its name; skips (in CI fails) where its registry can't be had."""
    import lan_kit
    import media_kit

    def path_of(name: str) -> Path:
        try:
            return media_kit.fetched(name)
        except media_kit.Unavailable as reason:
            lan_kit.require(False, str(reason))
            raise

    return path_of


# --- MediaPipe's models (vision_kit.py) ------------------------------------------------------


@pytest.fixture(scope="session")
def vision_model() -> Iterator[Any]:
    """MediaPipe's models, each opened when it is first asked."""
    import vision_kit

    with vision_kit.model_of() as made:
        yield made


# --- a whole node (node_kit.py) ---------------------------------------------------------------


@pytest.fixture(scope="session")
def node_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of ``node``."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def node(tiny_export: Path, node_data: Path) -> Iterator[NodeThread]:
    """A ready node with ``clip`` (the tiny model on ONNX Runtime) and ``ocr``; no mDNS."""
    import node_kit

    flags = {"services": "clip,ocr", "clip.model": str(tiny_export), "clip.templates": "single"}
    with node_kit.NodeThread(**flags, data_dir=node_data) as running:
        yield running
