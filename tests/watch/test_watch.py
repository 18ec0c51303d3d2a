"""`hearth watch` and what it writes: the command line, a real node, MediaPipe's real models."""

import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from cli_kit import HEARTH, PAGE, TITLE, Done, Lines, environment
from cli_kit import hearth_here as hearth
from mediapipe_kit import place
from node_kit import NodeThread
from view_kit import (
    ASTRONAUT,
    RATE,
    changed,
    frames,
    read_picture,
    read_video,
    write_picture,
    write_video,
)

FRAMES = 10


@pytest.fixture(scope="module")
def vision(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeThread]:
    """A node with MediaPipe's models."""
    data = tmp_path_factory.mktemp("data")
    place(data)
    with NodeThread(services="mediapipe,compose", data_dir=data) as running:
        yield running


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames of the astronaut; not to be written to."""
    return write_video(tmp_path_factory.mktemp("clips") / "clip.avi", list(frames(FRAMES)))


def watch(node: NodeThread, *arguments: object, **options: Any) -> Done:
    return hearth("watch", *arguments, "--node", node.target, **options)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


# --- videos ---------------------------------------------------------------------------------


def test_a_video_comes_back_with_every_frame_drawn_upon(
    vision: NodeThread, clip: Path, tmp_path: Path
):
    out, told = tmp_path / "seen.mp4", tmp_path / "told.jsonl"
    done = watch(vision, "face_detection", clip, "--out", out, "--json", told)
    assert (done.code, done.out) == (0, ""), done.err
    assert done.err.startswith(f"{FRAMES} frames, ") and done.err.endswith(f" a second: {out}\n")
    seen, before = read_video(out), read_video(clip)
    assert seen.frames.shape == before.frames.shape and abs(seen.rate - RATE) < 0.01
    for line, old, new in zip(lines_of(told), before.frames, seen.frames, strict=True):
        [face] = line["result"]["faces"]
        left, top, right, bottom = map(round, face["box"])
        green = (new[..., 1].astype(int) - new[..., 0] > 60) & (new[..., 1] > 140)
        edges = green[top - 1 : top + 2, left + 50 : right - 5].any(axis=0)
        assert edges.mean() > 0.9
        # Below her chin nothing was drawn.
        assert changed(old[bottom + 10 :], new[bottom + 10 :]).mean() < 0.001


def test_lines_of_json_tell_every_frame_in_order(vision: NodeThread, clip: Path):
    done = watch(vision, "pose_tracking", clip, "--json", "-", "--no-window")
    assert done.code == 0, done.err
    assert [line["frame"] for line in done.lines] == list(range(FRAMES))
    times = [line["timestamp_ms"] for line in done.lines]
    assert times == pytest.approx([1000 * at / RATE for at in range(FRAMES)])
    for line in done.lines:
        # The node was told that they are a video.
        assert line["result"]["frame_number"] == line["frame"]
        assert line["result"]["timestamp_ms"] == line["timestamp_ms"]
        assert (line["task"], line["error"]) == ("pose_tracking", None)
    assert len({line["result"]["stream_id"] for line in done.lines}) == 1


def test_it_ends_after_as_many_frames_as_are_asked_for(
    vision: NodeThread, clip: Path, tmp_path: Path
):
    done = watch(vision, "face_detection", clip, "--out", tmp_path / "few", "--frames", 3)
    assert done.code == 0 and done.err.startswith("3 frames, ")
    assert sorted(path.name for path in (tmp_path / "few").iterdir()) == [
        "000000.jpg", "000001.jpg", "000002.jpg"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_ending_it_leaves_a_whole_video_and_says_how_far_it_came(
    number: int, code: int, vision: NodeThread, tmp_path: Path
):
    long, out = write_video(tmp_path / "long.avi", list(frames(250))), tmp_path / "seen.mp4"
    process = subprocess.Popen(
        [*HEARTH, "watch", "face_detection", str(long), "--out", str(out), "--json", "-",
         "--node", vision.target],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    lines = Lines(process.stdout)
    lines.until(lambda line: line.startswith('{"frame":5,'))
    process.send_signal(number)
    complaint = process.stderr.read()
    assert process.wait(20) == code
    lines.close()
    process.stderr.close()
    assert complaint.startswith("hearth: interrupted: ") and complaint.count("\n") == 1
    count = int(complaint.split()[2])
    assert 6 <= count < 250 and abs(len(read_video(out).frames) - count) <= 1


def test_a_terminal_shows_how_far_it_is(vision: NodeThread, clip: Path, tmp_path: Path):
    control, terminal = pty.openpty()
    process = subprocess.Popen(
        [*HEARTH, "watch", "face_detection", str(clip), "--out", str(tmp_path / "seen.avi"),
         "--node", vision.target],
        stdout=subprocess.DEVNULL, stderr=terminal,
        env=environment(COLUMNS="100", TERM="xterm"),
    )  # fmt: skip
    os.close(terminal)
    seen = b""
    try:
        while block := os.read(control, 65536):
            seen += block
    except OSError:  # Linux's way to say that nobody has the terminal any more
        pass
    os.close(control)
    assert process.wait(20) == 0
    assert b"clip.avi" in seen and b" %" in seen and b"10 frames" in seen


# --- pictures -------------------------------------------------------------------------------


def test_a_folder_comes_back_as_a_folder_in_its_natural_order(vision: NodeThread, tmp_path: Path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    names = ["at 2.png", "at 10.png", "at 1.png"]
    for name, pixels in zip(names, frames(3), strict=True):
        write_picture(folder / name, pixels)
    (folder / "at 3.jpg").write_bytes(b"\xff\xd8\xff no picture")
    (folder / "notes.txt").write_text("nothing to see")
    (folder / ".hidden.png").write_bytes(b"")
    told = tmp_path / "told.jsonl"
    done = watch(vision, "face_detection", folder, "--out", out, "--json", told)
    assert done.code == 1
    skipped, broken, summary = done.err.splitlines()
    assert skipped.endswith("skipped what is no picture: notes.txt")
    assert broken.startswith("at 3.jpg: ") and broken.endswith("(UNREADABLE)")
    assert summary.startswith("3 frames, ") and summary.endswith(f", 1 failed: {out}")
    assert [line["file"] for line in lines_of(told)] == [
        "at 1.png", "at 2.png", "at 3.jpg", "at 10.png"
    ]  # fmt: skip
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    for name in names:
        assert changed(read_picture(folder / name), read_picture(out / name)).any()


def test_a_picture_is_sent_smaller_and_shown_mirrored_if_asked(vision: NodeThread, tmp_path: Path):
    out = tmp_path / "seen.png"
    arguments = ("face_detection", ASTRONAUT, "--json", "-", "--out", out)
    plain = watch(vision, *arguments)
    [line] = plain.lines
    box = line["result"]["faces"][0]["box"]
    assert line["result"]["width"] == 512 and read_picture(out).shape == (512, 512, 3)
    [line] = watch(vision, *arguments, "--size", 256, "--mirror").lines
    small = line["result"]["faces"][0]["box"]
    assert (line["result"]["width"], line["file"]) == (256, "astronaut.png")
    # It was sent unmirrored, and is shown at its whole size.
    assert np.abs(np.array(box) - 2 * np.array(small)).max() < 8
    left, top, right, bottom = map(round, box)
    drawn = changed(read_picture(ASTRONAUT)[:, ::-1], read_picture(out))
    columns = np.flatnonzero(drawn[top + 10 : bottom - 10].any(axis=0))
    assert abs(columns[0] - (512 - right)) < 10 and abs(columns[-1] - (512 - left)) < 10


def test_raw_frames_are_seen_as_the_file_itself_is(vision: NodeThread):
    arguments = ("face_detection", ASTRONAUT, "--no-window", "--json", "-")
    [sent_as_file] = watch(vision, *arguments).lines
    [sent_raw] = watch(vision, *arguments, "--raw").lines
    assert sent_raw["result"] == sent_as_file["result"]


TASKS = ("face_detection", "face_mesh", "iris_tracking", "pose_tracking", "holistic_tracking",
         "selfie_segmentation", "segmentation_effect")  # fmt: skip


def test_every_task_is_drawn_where_she_is(vision: NodeThread, tmp_path: Path):
    before, out = read_picture(ASTRONAUT), tmp_path / "seen.png"
    for task in TASKS:
        done = watch(vision, task, ASTRONAUT, "--out", out, "-o", "smooth=false", "--angles")
        assert done.code == 0, done.err
        drawn = changed(before, read_picture(out), 40)
        if task == "segmentation_effect":
            assert drawn[:200, 300:].mean() > 0.1 and drawn[90:170, 180:270].mean() < 0.02
        else:
            assert drawn[60:180, 170:280].mean() > 0.02, task
            assert drawn[:200, 330:].mean() < 0.02, task


def test_text_is_written_over_the_text_that_was_read(node: NodeThread, tmp_path: Path):
    done = watch(node, "ocr", PAGE, "--out", tmp_path / "seen.png", "--json", "-")
    [line] = done.lines
    assert line["result"]["items"][0]["text"] == TITLE
    drawn = read_picture(tmp_path / "seen.png")
    yellow = (drawn[..., 0] > 180) & (drawn[..., 2] < 140)
    assert yellow.mean() > 0.1


def test_all_parts_of_a_composed_request_are_drawn_on_one_frame(
    vision: NodeThread, clip: Path, tmp_path: Path
):
    effect = {"task": "segmentation_effect", "options": {"effect": "replace", "color": "#0000ff"}}
    eyes = {"task": "iris_tracking", "id": "eyes"}
    entries = orjson.dumps([effect, "face_detection", eyes]).decode()
    told, out = tmp_path / "told.jsonl", tmp_path / "seen.mp4"
    done = watch(vision, "compose", clip, "-o", f"entries={entries}", "--json", told, "--out", out,
                 "--frames", 4)  # fmt: skip
    assert done.code == 0, done.err
    for line, drawn in zip(lines_of(told), read_video(out).frames, strict=True):
        parts = line["entries"]
        assert parts.keys() == {"segmentation_effect", "face_detection", "eyes"}
        # Each of the entries that can follow a video is told that it is one.
        assert parts["face_detection"]["result"]["frame_number"] == line["frame"]
        left, top, right, _ = map(round, parts["face_detection"]["result"]["faces"][0]["box"])
        assert (drawn[top, left + 50 : right - 5, 1] > 120).mean() > 0.9
        assert drawn[10, 310, 2] > 200 > 80 > drawn[10, 310, 0]  # the new background


def test_plain_names_of_entries_follow_a_video_as_well(vision: NodeThread, clip: Path):
    done = watch(vision, "compose", clip, "-o", "entries=face_detection, iris_tracking",
                 "--json", "-", "--no-window", "--frames", 2)  # fmt: skip
    assert done.code == 0, done.err
    for line in done.lines:
        assert line["entries"].keys() == {"face_detection", "iris_tracking"}
        for part in line["entries"].values():
            assert part["result"]["frame_number"] == line["frame"]
