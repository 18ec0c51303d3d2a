"""What `hearth watch` refuses: sources, places to write to, and options that can't be meant."""

from pathlib import Path

import pytest

from cli_kit import Done
from cli_kit import hearth_here as hearth
from hearth.watch.captures import without_secrets
from view_kit import ASTRONAUT, frames, write_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video; not to be written to."""
    return write_video(tmp_path_factory.mktemp("clips") / "clip.avi", list(frames(3)))


def complaint(*arguments: object, **changes: str) -> tuple[int, str]:
    done: Done = hearth("watch", "face_detection", *arguments, "--node", "127.0.0.1:1", **changes)
    assert done.out == "" and done.err.count("\n") == 1, done.err
    return done.code, done.err.removeprefix("hearth: ").rstrip()


def test_what_is_no_source_is_one_clear_line(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no video at all")
    (tmp_path / "notes.jpg").write_text("no picture either")
    out = ("--out", tmp_path / "seen.mp4")
    for source, words in {
        "77": "camera 77: there is no such camera",
        "/dev/video77": "/dev/video77: there is no such camera",
        tmp_path / "nothing.mp4": f"{tmp_path}/nothing.mp4: no such file or directory",
        tmp_path / "notes.txt": f"{tmp_path}/notes.txt: neither a video nor a picture",
        tmp_path / "notes.jpg": f"{tmp_path}/notes.jpg: neither a video nor a picture",
        tmp_path / "empty": f"{tmp_path}/empty: there is no picture in it",
        "rtsp://me:secret@127.0.0.1:1/cam": "rtsp://127.0.0.1:1/cam: no video can be had there",
        "screen:wide": "screen:wide: write the part as screen:WIDTHxHEIGHT+LEFT+TOP",
    }.items():
        code, said = complaint(source, *out, DISPLAY="")
        assert code == 1 and said.startswith(words), said
    code, said = complaint("screen", *out, DISPLAY="")
    assert code == 1 and said.startswith("the screen can't be seen: there is no display")
    code, said = complaint(ASTRONAUT, DISPLAY="")
    assert code == 1 and "no display to open a window on" in said and "--out" in said
    assert not (tmp_path / "seen.mp4").exists()


def test_what_would_be_written_over_or_cannot_be_written_is_refused(clip: Path, tmp_path: Path):
    before = clip.read_bytes()
    for source, out, words in (
        (clip, clip, "the source itself would be written over"),
        (clip.parent, clip.parent, "there is no picture in it"),
        (ASTRONAUT, ASTRONAUT, "the source itself would be written over"),
        (ASTRONAUT, ASTRONAUT.parent, "the source itself would be written over"),
        (clip, tmp_path / "seen.png", "one picture, for many frames"),
        (clip, tmp_path / "seen.wmv", "name a folder, or a file that ends in one of .mp4"),
        (clip, tmp_path / "no" / "seen.mp4", "no such file or directory"),
    ):
        code, said = complaint(source, "--out", out)
        assert code in (1, 2) and words in said, said
    mine = tmp_path / "in" / "self.jpg"
    mine.parent.mkdir()
    mine.write_bytes(ASTRONAUT.read_bytes())
    for source in (mine, mine.parent):
        code, said = complaint(source, "--no-window", "--json", mine)
        assert code == 2 and "--json" in said and "the source itself" in said
    code, said = complaint(clip, "--out", tmp_path / "a.mp4", "--json", tmp_path / "a.mp4")
    assert code == 2 and "--out is written there" in said
    assert clip.read_bytes() == before and mine.read_bytes() == ASTRONAUT.read_bytes()


def test_where_no_node_answers_nothing_is_left_behind(clip: Path, tmp_path: Path):
    told = tmp_path / "told.jsonl"
    told.write_text("before")
    code, _ = complaint(clip, "--out", tmp_path / "new" / "folder", "--json", told)
    assert code == 1 and told.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["told.jsonl"]
    code, said = complaint(clip, "--out", told / "folder")
    assert code == 1 and said == f"{told}: not a directory"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "missing argument 'source'"),
        (("0", "--no-window"), "--no-window shows nothing"),
        (("0", "--option", "smooth"), "write it as key=value"),
        (("0", "--size", "1"), "--size"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: tuple[str, ...], words: str):
    code, said = complaint(*arguments)
    assert code == 2 and words in said.lower() and "(see `hearth watch --help`)" in said


def test_a_password_in_an_address_is_never_shown():
    assert without_secrets("rtsp://me:pa@ss@10.0.0.5:554/a/b") == "rtsp://10.0.0.5:554/a/b"
    assert without_secrets("http://10.0.0.5/cam") == "http://10.0.0.5/cam"
