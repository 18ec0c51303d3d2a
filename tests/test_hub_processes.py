"""Downloads by real processes: killed in the middle, two at once, and onto a full disk."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from hearth.errors import ModelUnavailable
from hearth.hub.remote import CHUNK
from hearth.hub.store import HubStore
from hub_kit import HubServer

NAME = "org/name"
SIZE = 8 * CHUNK
PATHS = ["config.json", "model.onnx"]

DOWNLOAD = """
import sys
from pathlib import Path
from hearth.hub.store import HubStore

def progress(what, done, total):
    print(what, flush=True)

print(HubStore(Path(sys.argv[1]), endpoint=sys.argv[2]).download("org/name", ["*"], progress))
"""

FIND = """
import sys
from pathlib import Path
from hearth.hub.store import HubStore

print(HubStore(Path(sys.argv[1]), endpoint=sys.argv[2]).find("org/name", ["*"]))
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


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def lines_of(*processes: subprocess.Popen[str]) -> list[str]:
    """What several processes print, growing as they do."""
    lines: list[str] = []
    for process in processes:
        assert process.stdout is not None
        threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True).start()
    return lines


def part_size(data: Path) -> int:
    return sum(path.stat().st_size for path in data.glob("hub/*/.partial/*"))


@pytest.fixture
def model(hub: HubServer) -> bytes:
    content = os.urandom(SIZE)
    hub.add_repository(NAME, {"config.json": b"{}", "model.onnx": content})
    return content


def test_the_next_start_goes_on_where_a_killed_process_stopped(
    hub: HubServer, model: bytes, tmp_path: Path
) -> None:
    pause = hub.pause(NAME, "model.onnx", after=5 * CHUNK)
    with node(DOWNLOAD, tmp_path, hub.url) as process:
        assert pause.reached.wait(20)
        wait_until(lambda: part_size(tmp_path) >= 5 * CHUNK)
        process.kill()
        process.wait()
    store = HubStore(tmp_path, endpoint=hub.url)
    assert store.find(NAME, PATHS) is None
    hub.mend()
    hub.forget()
    folder = store.download(NAME, PATHS)
    assert (folder / "model.onnx").read_bytes() == model
    assert hub.bytes_sent(NAME, "model.onnx") == SIZE - 5 * CHUNK
    assert not hub.transfers(NAME, "config.json")


def test_two_processes_that_start_on_one_empty_folder_share_one_download(
    hub: HubServer, model: bytes, tmp_path: Path
) -> None:
    pause = hub.pause(NAME, "model.onnx", after=CHUNK)
    with node(DOWNLOAD, tmp_path, hub.url) as first, node(DOWNLOAD, tmp_path, hub.url) as second:
        assert pause.reached.wait(20)
        # Which of them came second isn't known, but that one says that it waits.
        lines = lines_of(first, second)
        wait_until(lambda: any("another process" in line for line in lines))
        pause.release()
        assert first.wait(20) == 0
        assert second.wait(20) == 0
    assert hub.bytes_sent(NAME, "model.onnx") == SIZE
    assert HubStore(tmp_path, endpoint=hub.url).find(NAME, PATHS) is not None


def test_two_threads_share_one_download(hub: HubServer, model: bytes, tmp_path: Path) -> None:
    store = HubStore(tmp_path, endpoint=hub.url)
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(lambda _: store.download(NAME, PATHS), range(2)))
    assert folders[0] == folders[1]
    assert hub.bytes_sent(NAME, "model.onnx") == SIZE


def test_a_start_with_a_full_cache_does_not_even_load_the_hub_library(
    hub: HubServer, model: bytes, tmp_path: Path
) -> None:
    folder = HubStore(tmp_path, endpoint=hub.url).download(NAME, PATHS)
    hub.forget()
    with node(FIND, tmp_path, hub.url) as process:
        output, _ = process.communicate(timeout=20)
    assert output.splitlines() == [str(folder), "[]"]
    assert hub.count() == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    try:
        mounted = os.geteuid() == 0 and not subprocess.run(command, check=False).returncode
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a small file system can only be mounted by root, with mount(8)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_download_that_does_not_fit_is_refused_before_it_starts(
    hub: HubServer, small_disk: Path
) -> None:
    hub.add_repository(NAME, {"model.onnx": bytes(4_000_000)})
    store = HubStore(small_disk, endpoint=hub.url)
    with pytest.raises(ModelUnavailable, match=r"no room for org/name: 4.0 MB needed, 3.1 MB free"):
        store.download(NAME, ["model.onnx"])
    assert not hub.transfers(NAME, "model.onnx")


def test_a_disk_that_fills_up_on_the_way_leaves_nothing_half_made(
    hub: HubServer, model: bytes, small_disk: Path
) -> None:
    filler = small_disk / "filler"

    def fill(what: str, done: int, total: int | None) -> None:
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
    with pytest.raises(ModelUnavailable, match=r"no room for org/name: the disk of .* is full$"):
        store.download(NAME, PATHS, fill)
    assert store.find(NAME, PATHS) is None
    assert part_size(small_disk) == 0
    filler.unlink()
    folder = store.download(NAME, PATHS)
    assert (folder / "model.onnx").read_bytes() == model


def test_a_folder_that_cannot_be_written_to_is_named(hub: HubServer, tmp_path: Path) -> None:
    (tmp_path / "hub").write_text("a file where the folder should be")
    store = HubStore(tmp_path, endpoint=hub.url)
    with pytest.raises(ModelUnavailable, match=r"can't keep org/name in .*hub: "):
        store.download(NAME, ["*"])
