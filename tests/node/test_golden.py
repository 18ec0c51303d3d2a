"""Every engine that can do a task here answers as the reference implementation does."""

import asyncio
import io
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from PIL import Image

import clip_kit
import face_kit
import family_kit
import golden_kit
from golden_kit import Case, Golden, golden
from hearth.backends.registry import BACKENDS
from hearth.families.registry import OPTIONAL_SERVICES
from hearth.families.tasks import TASKS
from hearth.known import SCHEMAS
from mediapipe_kit import place
from node_kit import NodeThread, ask, stub_of, talk
from schema_kit import faults_of

FAMILY = ("clip", "bioclip", "siglip")
DECLARED = {task.name: task for task in TASKS}
ENGINES = [
    engine.name
    for engine in BACKENDS.values()
    if engine.unavailable() is None and (engine.name == "torch" or ".onnx" in engine.suffixes)
]
"""Engines of CLIP's family that are installed here; the other families have one each."""
RUNS = [
    (task, engine)
    for task in golden_kit.tasks()
    for engine in (ENGINES if DECLARED[task].service in FAMILY else ["own"])
]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Path]]:
    """The toys' folders for an engine: checkpoints for torch, ONNX files for the others."""
    made = tmp_path_factory.mktemp("toys")
    clip = clip_kit.write_open_clip(made / "tiny", clip_kit.tiny_module())
    toys = {"clip": clip, "bioclip": family_kit.bioclip(made / "bioclip-2").folder,
            "siglip": family_kit.siglip(made / family_kit.SIGLIP).folder}  # fmt: skip

    @cache
    def exports() -> dict[str, Path]:
        target = tmp_path_factory.mktemp("exports")
        return {name: clip_kit.export(toy, target / toy.name) for name, toy in toys.items()}

    return lambda engine: toys if engine == "torch" else exports()


@pytest.fixture(scope="module")
def nodes(
    family: Callable[[str], dict[str, Path]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], NodeThread]]:
    """A running node for each engine, started when it is first asked for."""
    running: list[NodeThread] = []
    labels = tmp_path_factory.mktemp("labels") / "labels.txt"
    labels.write_text("\n".join(golden_kit.LABELS), encoding="utf-8")

    def flags_of(engine: str) -> dict[str, Any]:
        if engine == "own":
            data_dir, faces = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("faces")
            place(data_dir)
            face_kit.pack(faces)
            return {
                "services": ",".join(name for name in OPTIONAL_SERVICES if name not in FAMILY),
                "face.model": str(faces),
                "data_dir": data_dir,
            }
        return {
            "services": ",".join(FAMILY),
            "clip.backend": engine,
            "clip.labels": labels,
            "bioclip.labels": labels,
            "batch_size": 4,
            "data_dir": tmp_path_factory.mktemp("data"),
            **{f"{name}.model": str(folder) for name, folder in family(engine).items()},
        }

    @cache
    def node(engine: str) -> NodeThread:
        running.append(NodeThread(**flags_of(engine)).__enter__())
        return running[-1]

    yield node
    for each in running:
        each.__exit__()


def answers(node: NodeThread, task: str, case: Case) -> dict[str, Any]:
    """Each answer to a case by its entry, if it is composed: JSON, or a picture."""

    async def asked() -> dict[str, Any]:
        payload, mime = golden_kit.payload_of(case.input)
        request = ask(payload, "1", task, payload_mime=mime, meta=case.options)
        async with stub_of(node.node) as stub:
            return {part.meta.get("entry", ""): part for part in await talk(stub, [request])}

    told = {}
    for entry, part in asyncio.run(asked()).items():
        assert not part.error.code, part.error.message
        if part.result_mime.startswith("image/"):
            told[entry] = Image.open(io.BytesIO(part.result))
            continue
        told[entry] = orjson.loads(part.result)
        assert faults_of(SCHEMAS[part.result_schema], told[entry]) == []
    return told


@pytest.mark.parametrize(("task", "engine"), RUNS)
def test_an_engine_answers_as_the_reference(
    task: str, engine: str, nodes: Callable[[str], NodeThread]
) -> None:
    content = golden(task)
    assert content.cases
    for case in content.cases:
        told = answers(nodes(engine), task, case)
        assert told.keys() == (case.answer.keys() if task == "compose" else {""})
        for entry, answer in told.items():
            expected = case.answer[entry] if entry else case.answer
            assert apart(content, entry or task, expected, answer) == [], case.name


def apart(content: Golden, task: str, expected: Any, answer: Any) -> list[str]:
    if not isinstance(answer, Image.Image):
        schema = DECLARED[task].schema
        assert schema is not None
        return golden_kit.differences(schema, expected, answer, content.tolerances)
    name = "alpha_every_eighth"
    alpha = np.asarray(answer)[::8, ::8, 3].ravel().astype(int)
    mean = np.abs(alpha - golden_kit.unpacked(expected[name])).mean()
    return [] if mean <= content.tolerances[name] else [f"{name}: {mean}"]


def test_every_task_has_its_file() -> None:
    assert golden_kit.tasks() == sorted(DECLARED)


def test_what_is_another_answer_is_told() -> None:
    """A comparison that finds nothing wrong would pass everything."""
    content = golden("pose_tracking")
    schema = DECLARED["pose_tracking"].schema
    assert schema is not None
    answer = orjson.loads(orjson.dumps(content.cases[0].answer))
    assert golden_kit.differences(schema, answer, answer, content.tolerances) == []
    answer["poses"][0]["points"][7][0] += 33 * 2 * content.tolerances["points"]
    [difference] = golden_kit.differences(
        schema, content.cases[0].answer, answer, content.tolerances
    )
    assert "points" in difference
