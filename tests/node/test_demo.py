"""`make demo` after its installation: the whole way once, in the words of the command line."""

import subprocess
import sys
from pathlib import Path

import pytest

from checkout import ROOT
from cli_kit import TITLE, environment
from hearth.families.mediapipe.tasks import MEDIAPIPE_TASKS
from index_kit import PackageIndex
from mediapipe_kit import wheel_path

LONGEST_SECONDS = 240
"""It starts some forty processes, one after the other."""
pytestmark = pytest.mark.timeout(LONGEST_SECONDS + 60)


CLIP_TASKS = ("clip_classify", "clip_scene_classify", "clip_image_embed", "clip_text_embed")


def demo(**changes: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / "demo.py")],
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        env=environment(**changes),
        check=False,
    )


def test_the_demo_runs_every_ready_task_and_ends_well(tmp_path: Path, tiny_export: Path):
    with PackageIndex("mediapipe", wheel_path()) as index:
        done = demo(
            **index.environment,
            HF_HUB_OFFLINE="0",
            HEARTH_HUB__ENDPOINT="http://127.0.0.1:9",
            HEARTH_DATA_DIR=str(tmp_path / "data"),
            HEARTH_CLIP__MODEL=str(tiny_export),
            HEARTH_CLIP__TEMPLATES="single",
        )
    assert done.returncode == 0, done.stdout + done.stderr
    for task in (*CLIP_TASKS, *(task.name for task in MEDIAPIPE_TASKS), "ocr", "compose"):
        assert f"$ hearth infer {task} " in done.stdout
    assert index.transfers == 1 and "mediapipe ready" in done.stdout
    assert TITLE in done.stdout and "astronaut.png" in done.stdout
    assert "16 numbers" in done.stdout and "$ hearth discover" in done.stdout
    assert done.stdout.endswith("demo: everything worked\n") and not done.stderr


def test_what_cannot_be_fetched_is_told_and_the_rest_is_shown(tmp_path: Path):
    done = demo(HEARTH_DATA_DIR=str(tmp_path / "data"))
    assert done.returncode == 0, done.stdout + done.stderr
    clip, mediapipe = [line for line in done.stdout.splitlines() if "can't be shown:" in line]
    assert clip.startswith("clip can't") and "the hub may not be asked" in clip
    assert mediapipe.startswith("mediapipe can't") and "the network may not be used" in mediapipe
    assert TITLE in done.stdout and "infer clip" not in done.stdout
    assert "infer compose" not in done.stdout
    assert "worked; left out: clip and mediapipe (" in done.stdout.splitlines()[-1]


def test_a_demo_that_fails_says_what_failed(tmp_path: Path):
    done = demo(HEARTH_DATA_DIR=str(tmp_path), HEARTH_SERVICES="telepathy")
    assert done.returncode == 1
    assert "demo: FAILED: the node ended by itself with exit code 2" in done.stderr
    assert "no service 'telepathy'" in done.stderr
