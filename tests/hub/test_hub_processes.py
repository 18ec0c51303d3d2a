"""Downloads by real processes: killed in the middle, two at once, and onto a full disk."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

import disk_kit
from hearth.errors import ModelUnavailable
from hearth.hub.remote import CHUNK
from hearth.hub.store import HubStore
from hub_kit import HubServer, part_size, wait_until

SIZE = 8 * CHUNK
PATHS = ["config.json", "model.onnx"]

DOWNLOAD = """
import sys
from pathlib import Path
from hearth.hub.store import HubStore

def progress(what, done, total, unit="steps"):
    print(what, flush=True)

store = HubStore(Path(sys.argv[1]), endpoint=sys.argv[2])
print(store.download(sys.argv[3], ["*"], progress))
"""

FIND = """
import sys
from pathlib import Path
from hearth.hub.store import HubStore

print(HubStore(Path(sys.argv[1]), endpoint=sys.argv[2]).find(sys.argv[3], ["*"]))
print(sorted({"huggingface_hub", "httpx2"} & set(sys.modules)))
"""


@contextmanager
def node(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that runs a script; killed at the end if need be."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def lines_of(*processes: subprocess.Popen[str]) -> list[str]:
    """What several processes print, growing as they do."""
    lines: list[str] = []
    for process in processes:
        assert process.stdout is not None
        threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True).start()
    return lines


@pytest.fixture(params=["org/name", "datasets/org/name"])
def name(request: pytest.FixtureRequest) -> str:
    """A repository's name: of a model, and of a data set."""
    return str(request.param)


@pytest.fixture
def model(hub: HubServer, name: str) -> bytes:
    content = os.urandom(SIZE)
    hub.add_repository(name, {"config.json": b"{}", "model.onnx": content})
    return content


def test_the_next_start_goes_on_where_a_killed_process_stopped(
    hub: HubServer, name: str, model: bytes, tmp_path: Path
) -> None:
    pause = hub.pause(name, "model.onnx", after=5 * CHUNK)
    with node(DOWNLOAD, tmp_path, hub.url, name) as process:
        assert pause.reached.wait(20)
        wait_until(lambda: part_size(tmp_path) >= 5 * CHUNK)
        process.kill()
        process.wait()
    store = HubStore(tmp_path, endpoint=hub.url)
    assert store.find(name, PATHS) is None
    hub.mend()
    hub.forget()
    folder = store.download(name, PATHS)
    assert (folder / "model.onnx").read_bytes() == model
    assert hub.bytes_sent(name, "model.onnx") == SIZE - 5 * CHUNK
    assert not hub.transfers(name, "config.json")


def test_two_processes_that_start_on_one_empty_folder_share_one_download(
    hub: HubServer, name: str, model: bytes, tmp_path: Path
) -> None:
    pause = hub.pause(name, "model.onnx", after=CHUNK)
    with (
        node(DOWNLOAD, tmp_path, hub.url, name) as first,
        node(DOWNLOAD, tmp_path, hub.url, name) as second,
    ):
        assert pause.reached.wait(20)
        # Which of them came second isn't known, but that one says that it waits.
        lines = lines_of(first, second)
        wait_until(lambda: any("another process" in line for line in lines))
        pause.release()
        assert first.wait(20) == 0
        assert second.wait(20) == 0
    assert hub.bytes_sent(name, "model.onnx") == SIZE
    assert HubStore(tmp_path, endpoint=hub.url).find(name, PATHS) is not None


def test_two_threads_share_one_download(
    hub: HubServer, name: str, model: bytes, tmp_path: Path
) -> None:
    store = HubStore(tmp_path, endpoint=hub.url)
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(lambda _: store.download(name, PATHS), range(2)))
    assert folders[0] == folders[1]
    assert hub.bytes_sent(name, "model.onnx") == SIZE


def test_a_start_with_a_full_cache_does_not_even_load_the_hub_library(
    hub: HubServer, name: str, model: bytes, tmp_path: Path
) -> None:
    folder = HubStore(tmp_path, endpoint=hub.url).download(name, PATHS)
    hub.forget()
    with node(FIND, tmp_path, hub.url, name) as process:
        output, _ = process.communicate(timeout=20)
    assert output.splitlines() == [str(folder), "[]"]
    assert hub.count() == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    with disk_kit.small_disk(tmp_path / "disk", "3m") as folder:
        yield folder


def test_a_download_that_does_not_fit_is_refused_before_it_starts(
    hub: HubServer, name: str, small_disk: Path
) -> None:
    hub.add_repository(name, {"model.onnx": bytes(4_000_000)})
    store = HubStore(small_disk, endpoint=hub.url)
    with pytest.raises(ModelUnavailable, match=rf"no room for {name}: 4.0 MB needed, 3.1 MB free"):
        store.download(name, ["model.onnx"])
    assert not hub.transfers(name, "model.onnx")


def test_a_disk_that_fills_up_on_the_way_leaves_nothing_half_made(
    hub: HubServer, name: str, model: bytes, small_disk: Path
) -> None:
    filler = small_disk / "filler"

    def fill(what: str, done: int, total: int | None, unit: str = "steps") -> None:
        """Take the room, as another program would, once the download is on its way."""
        if done < CHUNK or filler.exists():
            return
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                return

    store = HubStore(small_disk, endpoint=hub.url)
    with pytest.raises(ModelUnavailable, match=rf"no room for {name}: the disk of .* is full$"):
        store.download(name, PATHS, fill)
    assert store.find(name, PATHS) is None
    assert part_size(small_disk) == 0
    filler.unlink()
    folder = store.download(name, PATHS)
    assert (folder / "model.onnx").read_bytes() == model


def test_a_folder_that_cannot_be_written_to_is_named(
    hub: HubServer, name: str, tmp_path: Path
) -> None:
    (tmp_path / "hub").write_text("a file where the folder should be")
    store = HubStore(tmp_path, endpoint=hub.url)
    with pytest.raises(ModelUnavailable, match=rf"can't keep {name} in .*hub: "):
        store.download(name, ["*"])
