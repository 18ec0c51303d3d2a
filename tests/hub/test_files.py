"""Files that are whole or not there, and the facts of the machine."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hearth.files import atomic_file, fingerprint, write_atomic
from hearth.machine import cpu_model, cpu_quota, usable_cores


def test_a_reader_finds_the_old_content_or_the_new_and_never_half(tmp_path: Path):
    path = tmp_path / "file"
    contents = [bytes([letter]) * 300_000 for letter in b"abc"]
    write_atomic(path, contents[0])
    writers = [
        threading.Thread(target=lambda mine=mine: [write_atomic(path, mine) for _ in range(20)])
        for mine in contents
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert path.read_bytes() in contents
    for writer in writers:
        writer.join()
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path):
    (tmp_path / "name").mkdir()
    (tmp_path / "name" / "inside").touch()
    with pytest.raises(OSError):
        write_atomic(tmp_path / "name", b"x")
    with pytest.raises(OSError):
        write_atomic(tmp_path / "no" / "folder", b"x")
    assert list(tmp_path.iterdir()) == [tmp_path / "name"]


def test_a_file_that_is_renewed_keeps_its_permissions_and_the_link_to_it(tmp_path: Path):
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_bytes(b"old")
    file.chmod(0o640)
    link.symlink_to(file)
    write_atomic(link, b"new")
    assert link.is_symlink() and file.read_bytes() == b"new"
    assert file.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127])
def test_the_longest_name_can_be_written(tmp_path: Path, name: str):
    write_atomic(tmp_path / name, b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, b"new")]


def test_a_link_to_itself_is_refused_as_the_system_does(tmp_path: Path):
    path = tmp_path / "circle"
    path.symlink_to(path)
    with pytest.raises(OSError, match="symbolic links"):
        write_atomic(path, b"new")
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_has_left_is_written_over_by_the_next_one(tmp_path: Path):
    script = (
        "import os, sys; from pathlib import Path; from hearth.files import atomic_file\n"
        "with atomic_file(Path(sys.argv[1]), alone=True) as file:\n"
        "    file.write(b'half'); file.flush(); os._exit(1)"
    )
    file = tmp_path / "file"
    subprocess.run([sys.executable, "-c", script, file], check=False)
    assert [path.name for path in tmp_path.iterdir()] != []
    assert not file.exists()
    with atomic_file(file, alone=True) as new:
        new.write(b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert file.read_bytes() == b"whole"


@pytest.mark.parametrize("at", [0, -1])
def test_a_fingerprint_tells_files_apart_by_both_ends_and_their_size(tmp_path: Path, at: int):
    file = tmp_path / "model.onnx"
    content = bytearray(3 << 20)
    file.write_bytes(content)
    first = fingerprint([file])
    content[at] = 1
    file.write_bytes(content)
    second = fingerprint([file])
    file.write_bytes(content + b"\0")
    assert len({str(each) for each in (first, second, fingerprint([file]))}) == 3
    assert list(first) == [f"{tmp_path.name}/model.onnx"]


def test_the_cores_are_those_that_the_process_may_use():
    script = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from hearth.machine import usable_cores; print(usable_cores())"
    )
    if hasattr(os, "sched_setaffinity"):
        assert subprocess.check_output([sys.executable, "-c", script]) == b"1\n"
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
    assert cpu_model()


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "garbage"}, None),
        ({}, None),
    ],
)
def test_a_container_s_quota_is_understood(tmp_path: Path, files: dict, cores: float | None):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert cpu_quota(tmp_path) == cores
