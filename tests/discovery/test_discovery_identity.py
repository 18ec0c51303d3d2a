"""A node's uuid and name."""

import json
import logging
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from hearth.discovery import identity
from hearth.discovery.identity import instance_label, node_uuid

# A process of its own, as a node is one: prints its uuid, then holds it until stdin closes.
NODE = (
    "import sys; from pathlib import Path; from hearth.discovery.identity import node_uuid;"
    "print(node_uuid(Path(sys.argv[1])), flush=True); sys.stdin.read()"
)


def start(folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", NODE, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def read_uuid(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture(autouse=True)
def _a_fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "_claimed", {})


def test_the_uuid_is_the_same_after_a_restart_and_while_the_process_lives(tmp_path: Path) -> None:
    first = start(tmp_path)
    made = read_uuid(first)
    first.communicate()
    assert uuid.UUID(made)
    assert json.loads((tmp_path / "node.json").read_text()) == {"uuid": made}
    assert node_uuid(tmp_path) == made
    assert node_uuid(tmp_path) == made
    assert not list(tmp_path.glob("*.tmp"))


def test_nodes_that_share_a_data_folder_have_uuids_of_their_own(tmp_path: Path) -> None:
    with start(tmp_path) as first, start(tmp_path) as second:
        both = {read_uuid(first), read_uuid(second)}
        first.communicate()
        second.communicate()
    assert len(both) == 2
    kept = {json.loads(path.read_text())["uuid"] for path in tmp_path.glob("node*.json")}
    assert kept == both


def test_the_users_uuid_wins_and_nothing_is_written(tmp_path: Path) -> None:
    assert node_uuid(tmp_path / "new", "kitchen-1") == "kitchen-1"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"uuid": 7}', '{"uuid": "x"}', "\udcff"])
def test_a_corrupt_file_is_replaced_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    path = tmp_path / "node.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with caplog.at_level(logging.WARNING):
        made = node_uuid(tmp_path)
    assert json.loads(path.read_text()) == {"uuid": made}
    [record] = caplog.records
    assert str(path) in record.getMessage()


def test_a_folder_that_cannot_be_written_costs_a_warning_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        assert uuid.UUID(node_uuid(tmp_path / "file" / "data"))
    assert len(caplog.records) == 1


def test_a_uuid_in_a_folder_that_takes_no_lock_counts(tmp_path: Path) -> None:
    (tmp_path / "node.json").write_text(json.dumps({"uuid": str(uuid.UUID(int=7))}))
    (tmp_path / ".node.json.lock").mkdir()
    assert node_uuid(tmp_path) == str(uuid.UUID(int=7))


def test_the_default_name_carries_the_uuids_first_part() -> None:
    label = instance_label(None, "0a1b2c3d-0000-4000-8000-000000000000")
    assert label.endswith("-0a1b2c3d")
    assert "." not in label


def test_default_names_differ_even_for_uuids_that_are_none() -> None:
    assert instance_label(None, "node-1") != instance_label(None, "node-2")


@pytest.mark.parametrize(
    ("wish", "label"),
    [
        ("nas.example.org", "nas-example-org"),
        ("  Büro  im\tKeller ", "Büro im Keller"),
        ("日本語" * 20, ("日本語" * 20)[:19]),
        ("a" * 80, "a" * 59),
        ("\x00bell\x07", "bell"),
    ],
)
def test_a_name_becomes_one_label(wish: str, label: str) -> None:
    assert instance_label(wish, "u") == label
    assert len(instance_label(wish, "u").encode()) <= 59


def test_a_name_of_nothing_but_dots_gives_the_default() -> None:
    assert instance_label("...", "0a1b2c3d-0000") == instance_label(None, "0a1b2c3d-0000")
