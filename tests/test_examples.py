"""The examples in Python do what they say, as processes beside a real node with real models."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

import reference_kit
from cli_kit import environment
from mediapipe_kit import place
from node_kit import NodeThread

VIDEO = Path(__file__).resolve().parent.parent / "examples" / "python" / "video.py"
FRAMES = 12


@pytest.fixture(scope="module")
def vision(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeThread]:
    data_dir = tmp_path_factory.mktemp("data")
    place(data_dir)
    with NodeThread(services="mediapipe", data_dir=data_dir) as node:
        yield node


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Half a second in which a face moves to the right."""
    picture = np.ascontiguousarray(reference_kit.picture("astronaut")[..., ::-1])
    path = tmp_path / "clip.mp4"
    film = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, (400, 400))
    for shift in range(FRAMES):
        left = 2 * (FRAMES - shift)
        film.write(np.ascontiguousarray(picture[:400, left : left + 400]))
    film.release()
    return path


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(VIDEO), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=environment(), check=False
    )


def test_a_video_is_answered_frame_by_frame(vision: NodeThread, clip: Path):
    done = run(vision.target, "face_mesh", clip)
    assert done.returncode == 0, done.stderr
    told = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert sorted(map(int, told)) == list(range(FRAMES))
    assert set(told.values()) <= {"found 1", "dropped"}
    # What is newest is never left out.
    assert told["0"] == told[str(FRAMES - 1)] == "found 1"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "usage:"),
        (("fly", "{clip}"), r"no task 'fly'"),
        (("face_mesh", "{clip}.nowhere"), r"no frame comes from .*\.nowhere"),
    ],
)
def test_what_goes_wrong_is_told(vision: NodeThread, clip: Path, arguments, reason):
    filled = [each.replace("{clip}", str(clip)) for each in arguments]
    done = run(*([vision.target, *filled] if filled else []))
    assert done.returncode == 1 and re.search(reason, done.stdout + done.stderr)
