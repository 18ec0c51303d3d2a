"""docs/faces.md and docs/compose.md tell what there is, and their programs run."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from PIL import Image

import face_kit
import reference_kit
from checkout import ROOT
from cli_kit import environment
from hearth.families.compose.entries import MOST_ENTRIES, read_entries
from hearth.families.face.tasks import FACE_TASKS, FACE_V1
from hearth.families.tasks import TASKS
from mediapipe_kit import place
from node_kit import NodeThread

FACES, COMPOSE, README = (
    (ROOT / name).read_text(encoding="utf-8")
    for name in ("docs/faces.md", "docs/compose.md", "README.md")
)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data_dir, faces = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("faces")
    place(data_dir)
    face_kit.pack(faces)
    flags = {"services": "mediapipe,face", "face.model": str(faces), "data_dir": data_dir}
    with NodeThread(**flags) as node:
        yield node.target


def run(page: str, *arguments: object) -> str:
    """What the program of a page prints."""
    [program] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=environment(), check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_task_and_option_of_faces_is_told():
    for task in FACE_TASKS:
        for name in (*task.names, *(option.name for option in task.options)):
            assert f"`{name}`" in FACES, name
    assert f"`{FACE_V1.name}`" in FACES


def test_two_faces_are_compared_as_the_page_says(target: str, tmp_path: Path):
    picture = tmp_path / "face.png"
    face_kit.drawn((640, 480), [face_kit.Mark(6, 6, 2)]).save(picture)
    assert float(run(FACES, target, picture, picture).split()[1]) == pytest.approx(1)


def test_a_composed_answer_is_read_as_the_page_says(target: str, tmp_path: Path):
    picture = tmp_path / "beach.png"
    Image.fromarray(reference_kit.picture("astronaut")).save(picture)
    assert "face_detection 1\n" in run(COMPOSE, target, picture)


@pytest.mark.parametrize("page", [FACES, COMPOSE, README], ids=["faces", "compose", "readme"])
def test_every_composition_that_is_shown_can_be_read(page: str):
    shown = re.findall(r"-o '?entries=(\[.*?\](?=')|\S+)", page, re.DOTALL)
    assert shown
    there = {name for task in TASKS for name in task.names}
    for text in shown:
        entries = read_entries(text)
        names = {entry.name for entry in entries}
        assert {entry.task for entry in entries} <= there
        assert all(set(entry.needs) <= names for entry in entries), text


def test_the_example_of_an_answer_has_its_fields():
    [example] = map(orjson.loads, re.findall(r"```json\n(.*?)```", FACES, re.DOTALL))
    assert example.keys() == {"faces", "count", "model_id"}
    [face] = example["faces"]
    assert face.keys() == {"bbox", "confidence", "landmarks", "embedding"}
    assert len(face["bbox"]) == 4 and len(face["landmarks"]) == 10
    assert f"up to {MOST_ENTRIES} tasks" in COMPOSE
