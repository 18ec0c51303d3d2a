"""What the store holds: told, checked against its hashes, mended and removed."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hearth.errors import ModelUnavailable
from hearth.hub.maintenance import Condition
from hearth.hub.manifest import made_of
from hearth.hub.store import HubStore
from hub_kit import HubServer

MODEL = random.Random(2).randbytes(3_000_000)
FILES = {"config.json": b'{"size": 1}', "textual/model.onnx": b"words", "visual/model.onnx": MODEL}
NAMES = ("org/name", "datasets/org/name")


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(hub: HubServer, tmp_path: Path) -> HubStore:
    for name in NAMES:
        hub.add_repository(name, FILES)
    return HubStore(tmp_path, endpoint=hub.url, timeout=2)


def garble(path: Path) -> None:
    """One bit of a file, its size as it was: what only a hash can tell."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def stop_at_a_megabyte(what: str, done: int, total: int | None, unit: str = "steps") -> None:
    if done >= 1_000_000:
        raise KeyboardInterrupt


def test_what_is_here_is_told(hub: HubServer, store: HubStore) -> None:
    assert store.repositories() == []
    folder = store.download("datasets/org/name", ["config.json"])
    with pytest.raises(KeyboardInterrupt):
        store.download("org/name", ["visual/model.onnx"], stop_at_a_megabyte)
    (store.folder / "not a repository").mkdir()
    whole, partial = store.repositories()
    assert (whole.repository, whole.condition) == ("datasets/org/name", Condition.WHOLE)
    assert (whole.folder, whole.commit) == (folder.parent, folder.name)
    assert len(FILES["config.json"]) < whole.size < 2000
    assert (partial.repository, partial.condition) == ("org/name", Condition.PARTIAL)
    assert partial.commit is None
    assert 700_000 < partial.size < len(MODEL)
    store.download("org/name", ["visual/model.onnx"])
    assert store.repositories()[1].condition is Condition.WHOLE


def test_a_download_that_stopped_at_its_second_file_is_partial(
    hub: HubServer, store: HubStore, name: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        store.download(name, ["*"], stop_at_a_megabyte)
    [found] = store.repositories()
    assert found.condition is Condition.PARTIAL
    assert found.commit is not None
    # What came whole is whole: there is nothing to complain of.
    assert store.verify(name) == []


def test_files_that_are_whole_are_verified_byte_by_byte(store: HubStore, name: str) -> None:
    store.download(name, ["*"])
    heard: list[tuple[str, int, int | None]] = []
    assert store.verify(name, lambda *news: heard.append(news)) == []
    total = sum(map(len, FILES.values()))
    assert heard[-1] == (f"checking {name}", total, total)
    assert [done for _, done, _ in heard] == sorted(done for _, done, _ in heard)
    assert len(heard) > len(FILES)


def test_a_garbled_file_counts_no_longer_and_is_fetched_anew_alone(
    hub: HubServer, store: HubStore, name: str
) -> None:
    folder = store.download(name, ["*"])
    garble(folder / "visual/model.onnx")
    # Sizes alone don't tell.
    assert store.find(name, ["*"]) == folder
    assert store.verify(name) == ["visual/model.onnx has a wrong sha256"]
    assert store.find(name, ["*"]) is None
    assert store.find(name, ["config.json", "textual/*"]) == folder
    assert store.repositories()[0].condition is Condition.DAMAGED
    # It stays wrong until it is mended.
    assert store.verify(name) == ["visual/model.onnx has a wrong sha256"]
    hub.forget()
    assert store.download(name, ["*"]) == folder
    assert (folder / "visual/model.onnx").read_bytes() == MODEL
    assert not hub.transfers(name, "textual/model.onnx")
    assert not hub.transfers(name, "config.json")
    assert store.repositories()[0].condition is Condition.WHOLE
    assert store.verify(name) == []


def test_every_kind_of_damage_is_told_and_mended(
    hub: HubServer, store: HubStore, name: str
) -> None:
    folder = store.download(name, ["*"])
    (folder / "config.json").write_bytes(b"{}")
    (folder / "textual/model.onnx").unlink()
    garble(folder / "visual/model.onnx")
    assert store.verify(name) == [
        "config.json has 2 bytes instead of 11",
        "textual/model.onnx is missing",
        "visual/model.onnx has a wrong sha256",
    ]
    # Nothing of it counts, and yet the store stays at its commit.
    hub.add_repository(name, {"config.json": b"newer"})
    store.mend(name)
    assert store.find(name, ["*"]) == folder
    assert store.verify(name) == []
    hub.forget()
    store.mend(name)
    assert hub.count() == 0


def test_a_file_that_is_missing_is_mended_before_anybody_verified(
    store: HubStore, name: str
) -> None:
    folder = store.download(name, ["*"])
    (folder / "textual/model.onnx").unlink()
    assert store.repositories()[0].condition is Condition.DAMAGED
    store.mend(name)
    assert (folder / "textual/model.onnx").read_bytes() == b"words"
    assert store.repositories()[0].condition is Condition.WHOLE


def test_a_file_that_was_put_right_by_hand_counts_again(store: HubStore, name: str) -> None:
    folder = store.download(name, ["*"])
    garble(folder / "visual/model.onnx")
    assert store.verify(name)
    (folder / "visual/model.onnx").write_bytes(MODEL)
    assert store.verify(name) == []
    assert store.find(name, ["*"]) == folder


def test_all_revisions_are_verified(hub: HubServer, store: HubStore) -> None:
    hub.add_repository("org/name", {"config.json": b"of a pull request"}, revision="refs/pr/1")
    store.download("org/name", ["config.json"])
    folder = store.download("org/name", ["config.json"], revision="refs/pr/1")
    garble(folder / "config.json")
    assert store.verify("org/name") == ["config.json has a wrong git-sha1"]
    assert store.find("org/name", ["config.json"]) is not None
    assert store.find("org/name", ["config.json"], revision="refs/pr/1") is None
    store.mend("org/name")
    assert store.download("org/name", ["config.json"], revision="refs/pr/1") == folder
    assert (folder / "config.json").read_bytes() == b"of a pull request"


def test_a_removed_repository_is_gone_and_its_bytes_are_free(
    hub: HubServer, store: HubStore, name: str
) -> None:
    other = next(each for each in NAMES if each != name)
    folder = store.download(name, ["*"])
    kept = store.download(other, ["*"])
    [size] = [found.size for found in store.repositories() if found.repository == name]
    assert store.remove(name) == size > len(MODEL)
    assert not folder.parent.exists()
    assert store.find(name, ["*"]) is None
    assert store.find(other, ["*"]) == kept
    assert [found.repository for found in store.repositories()] == [other]
    # A newer state is taken from then on.
    hub.add_repository(name, {"config.json": b"newer"})
    assert (store.download(name, ["*"]) / "config.json").read_bytes() == b"newer"


def test_what_was_interrupted_can_be_removed(store: HubStore, name: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        store.download(name, ["visual/model.onnx"], stop_at_a_megabyte)
    assert store.remove(name) > 700_000
    assert store.repositories() == []


def test_what_is_not_here_can_be_neither_removed_nor_verified(
    store: HubStore, name: str, tmp_path: Path
) -> None:
    for ask in (store.remove, store.verify, store.mend):
        with pytest.raises(ModelUnavailable, match=rf"^{name} isn't in "):
            ask(name)
    assert not (tmp_path / "hub").exists()


REMOVE_AND_DIE = """
import os, shutil, sys
from pathlib import Path
from hearth.hub.store import HubStore

def die(folder):
    os._exit(9)

shutil.rmtree = die
HubStore(Path(sys.argv[1]), offline=True).remove(sys.argv[2])
"""


def test_a_removal_that_was_killed_leaves_nothing_that_counts(
    hub: HubServer, store: HubStore, name: str, tmp_path: Path
) -> None:
    folder = store.download(name, ["*"])
    command = [sys.executable, "-c", REMOVE_AND_DIE, str(tmp_path), name]
    assert subprocess.run(command, check=False).returncode == 9
    assert (folder / "visual/model.onnx").exists()
    assert store.find(name, ["*"]) is None
    assert store.repositories()[0].condition is Condition.PARTIAL
    assert store.remove(name) >= len(MODEL)
    assert store.repositories() == []


def test_a_link_to_another_place_is_removed_and_the_place_is_not(
    store: HubStore, name: str, tmp_path: Path
) -> None:
    folder = store.download(name, ["*"])
    place = tmp_path / "elsewhere"
    shutil.move(folder.parent, place)
    folder.parent.symlink_to(place)
    assert store.find(name, ["*"]) == folder
    store.remove(name)
    assert not folder.parent.is_symlink()
    assert (place / folder.name / "visual/model.onnx").read_bytes() == MODEL


DOWNLOAD = """
import sys
from pathlib import Path
from hearth.hub.store import HubStore

HubStore(Path(sys.argv[1]), endpoint=sys.argv[2]).download(sys.argv[3], ["*"])
"""


def test_nothing_is_removed_below_a_download_that_goes_on(
    hub: HubServer, store: HubStore, name: str, tmp_path: Path
) -> None:
    pause = hub.pause(name, "visual/model.onnx", after=1_000_000)
    command = [sys.executable, "-c", DOWNLOAD, str(tmp_path), hub.url, name]
    with subprocess.Popen(command) as process:
        try:
            assert pause.reached.wait(20)
            with pytest.raises(ModelUnavailable, match="in use by a download of another process"):
                store.remove(name)
            pause.release()
            assert process.wait(20) == 0
        finally:
            process.kill()
    assert store.find(name, ["*"]) is not None
    assert store.remove(name) > len(MODEL)


def test_a_file_that_cannot_be_read_is_told(
    store: HubStore, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = store.download(name, ["*"])
    opened = Path.open

    def refuse(path: Path, *arguments: object, **options: object) -> object:
        if path.name == "model.onnx" and path.parent.name == "visual":
            raise OSError(5, os.strerror(5))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    assert store.verify(name) == ["visual/model.onnx can't be read (input/output error)"]
    monkeypatch.undo()
    assert store.find(name, ["*"]) is None
    assert folder.exists()


def test_nothing_is_removed_while_something_is_made_of_it(store: HubStore, name: str) -> None:
    snapshot = store.download(name, ["*"])
    with store.making(name):
        with pytest.raises(ModelUnavailable, match="in use"):
            store.remove(name)
        made_of(snapshot, "copy").mkdir()
        (made_of(snapshot, "copy") / "file").write_bytes(bytes(1000))
    [found] = store.repositories()
    assert found.made == (snapshot.with_name(f"{snapshot.name}-copy"),)
    assert store.verify(name) == []
    assert store.remove(name) == found.size > 1000
    assert not snapshot.parent.exists()
    with pytest.raises(ModelUnavailable, match="isn't in"), store.making(name):
        pass
