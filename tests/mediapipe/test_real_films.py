"""Real films, recordings and a folder as they lie on a disk: `hearth watch` and `hearth infer`."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import media_kit
from cli_kit import Done
from cli_kit import hearth_here as hearth
from mediapipe_kit import place
from node_kit import NodeThread
from view_kit import changed, read_video, write_video

Media = Callable[[str], Path]


@pytest.fixture(scope="module")
def vision(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeThread]:
    """A node with MediaPipe's models."""
    data = tmp_path_factory.mktemp("data")
    place(data)
    with NodeThread(services="mediapipe", data_dir=data) as running:
        yield running


def watch(node: NodeThread, *arguments: object, **options: Any) -> Done:
    return hearth("watch", *arguments, "--json", "-", "--node", node.target, **options)


# --- films ------------------------------------------------------------------------------------


def frames_of(film: Path, first: int, count: int, every: int = 1) -> NDArray[np.uint8]:
    """(n, h, w, 3), RGB: frames of a film."""
    capture = cv2.VideoCapture(str(film))
    for _ in range(first):
        capture.grab()
    frames = []
    for at in range(count):
        capture.grab()
        if at % every == 0:
            frames.append(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB))
    capture.release()
    return np.stack(frames)


def test_somebody_who_walks_by_is_drawn_upon_in_every_frame(
    vision: NodeThread, media: Media, tmp_path: Path
):
    """The wall behind stands still: where it is another than without her, she is."""
    film = media("pedestrians.avi")
    frames, out = frames_of(film, 516, 20), tmp_path / "seen.mp4"
    behind = np.median(frames_of(film, 516, 100, every=11), axis=0).astype(np.uint8)
    clip = write_video(tmp_path / "clip.avi", list(frames))
    done = watch(vision, "pose_tracking", clip, "--out", out)
    assert done.code == 0 and done.err.startswith("20 frames, "), done.err
    drawn = read_video(out)
    assert drawn.frames.shape == frames.shape
    middles = []
    for line, before, after in zip(done.lines, frames, drawn.frames, strict=True):
        [pose] = line["result"]["poses"]
        left, top, right, bottom = (max(0, round(edge)) for edge in pose["box"])
        assert changed(behind, before, 40)[top:bottom, left:right].mean() > 0.2
        assert changed(before, after)[top:bottom, left:right].mean() > 0.01
        assert changed(before, after)[:300].mean() < 0.001  # the others, far behind, are not
        middles.append((left + right) / 2)
    assert middles[0] - middles[-1] > 250
    assert np.diff(middles).max() < 30


def test_a_film_with_a_sound_track_gives_all_its_frames_at_their_times(
    vision: NodeThread, media: Media
):
    film = media("film_with_sound.mp4")
    assert b"soun" in film.read_bytes() and b"mp4a" in film.read_bytes()
    done = watch(vision, "face_detection", film, "--no-window")
    assert done.code == 0 and done.err.startswith("150 frames, "), done.err
    assert [line["frame"] for line in done.lines] == list(range(150))
    times = [line["timestamp_ms"] for line in done.lines]
    assert times == pytest.approx([at * 1000 / 30 for at in range(150)], abs=1)
    assert {line["error"] for line in done.lines} == {None}


def test_a_recording_is_no_film(vision: NodeThread, media: Media, tmp_path: Path):
    """Neither by its name nor with a film's."""
    recording = media("recording.wav")
    renamed = tmp_path / "film.mp4"
    renamed.write_bytes(recording.read_bytes())
    for path in (recording, renamed):
        done = watch(vision, "face_detection", path, "--no-window")
        assert (done.code, done.err) == (1, f"hearth: {path}: neither a video nor a picture\n")


# --- a folder ---------------------------------------------------------------------------------


def test_of_a_folder_as_it_lies_on_a_disk_every_picture_is_answered(
    vision: NodeThread, media: Media, tmp_path: Path
):
    photos = tmp_path / "photos"
    for name, place_in in {
        "hand.jpg": "2023/HAND.JPG",
        "group_2.jpg": "party.jfif",
        "group_4.jpg": "0b5c1e77",  # as caches and chats name them
        "group_6.jpg": "@eaDir/party.jfif/SYNOPHOTO_THUMB_XL.jpg",
        "film_with_sound.mp4": "2023/FILM.MP4",
        "recording.wav": "2023/note.wav",
    }.items():
        (photos / place_in).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(media(name), photos / place_in)
    (photos / "._party.jfif").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    (photos / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
    done = hearth("infer", "hand_tracking", "photos", "--json", "-o", "max_hands=4",
                  "--node", vision.target, cwd=tmp_path)  # fmt: skip
    assert done.code == 0, done.err
    assert {line["file"]: line["result"]["count"] for line in done.lines} == {
        "photos/0b5c1e77": 3, "photos/party.jfif": 3, "photos/2023/HAND.JPG": 1,
    }  # fmt: skip
    assert done.err == (
        "left out 5 files: 1 hidden, 1 in @eaDir, 1 of the system, 1 recording (.wav), "
        "1 video (.mp4)\n"
    )


# --- the kit ----------------------------------------------------------------------------------


def test_nothing_but_the_very_file_is_given_or_the_reason_why_it_is_not(
    media: Media, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """A damaged copy is fetched anew; where that can't be, a test is skipped, but not in CI."""
    whole = media("recording.wav")
    monkeypatch.setattr(media_kit, "FOLDER", tmp_path)
    monkeypatch.setattr(media_kit, "_why_not", media_kit._why_not.__wrapped__)
    (tmp_path / whole.name).write_bytes(whole.read_bytes()[:-1] + b"!")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(media_kit.Unavailable, match=r"gradio 6\.0\.0 from PyPI \(.*gradio"):
        media_kit.fetched("recording.wav")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs gradio"):
        media("recording.wav")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="CI must have gradio"):
        media("recording.wav")
