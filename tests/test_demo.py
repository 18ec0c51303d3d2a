"""`make demo` after its installation: the whole way once, in the words of the command line."""

import subprocess
import sys
from pathlib import Path

from cli_kit import TITLE, environment

ROOT = Path(__file__).resolve().parent.parent


def demo(**changes: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / "demo.py")],
        capture_output=True,
        text=True,
        timeout=100,
        env=environment(**changes),
        check=False,
    )


def test_the_demo_runs_every_ready_task_and_ends_well(tmp_path: Path, tiny_export: Path):
    done = demo(
        HEARTH_DATA_DIR=str(tmp_path),
        HEARTH_CLIP__MODEL=str(tiny_export),
        HEARTH_CLIP__TEMPLATES="single",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tasks = ("clip_classify", "clip_scene_classify", "clip_image_embed", "clip_text_embed", "ocr")
    for task in tasks:
        assert f"$ hearth infer {task} " in done.stdout
    assert TITLE in done.stdout and "astronaut.png" in done.stdout
    assert "16 numbers" in done.stdout and "$ hearth discover" in done.stdout
    assert done.stdout.endswith("demo: everything worked\n") and not done.stderr


def test_without_clip_the_demo_says_why_and_shows_the_rest(tmp_path: Path):
    done = demo(HEARTH_DATA_DIR=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    (why,) = [line for line in done.stdout.splitlines() if line.startswith("clip can't be shown:")]
    assert "the hub may not be asked" in why
    assert TITLE in done.stdout and "infer clip" not in done.stdout


def test_a_demo_that_fails_says_what_failed(tmp_path: Path):
    done = demo(HEARTH_DATA_DIR=str(tmp_path), HEARTH_SERVICES="telepathy")
    assert done.returncode == 1
    assert "demo: FAILED: the node ended by itself with exit code 2" in done.stderr
    assert "no service 'telepathy'" in done.stderr
