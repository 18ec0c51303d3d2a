"""Nothing is told to anybody: a node's life, watched for the names it asks for and what it writes.

It runs on a machine of its own: a network namespace in which a name server of ours notes each
question, with /tmp, the home folder and the working directory new and empty.
"""

import os
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from checkout import ROOT
from cli_kit import HEARTH, PAGE, TITLE, Done, Lines
from hub_kit import HubServer
from lan_kit import Host, Lan, require_tools

HUB = "hub.hearth.test"
THERE = Path("/mnt/checkout")
"""Where the checkout is seen: its own place may be one of those that are empty, as /tmp is."""

TIDY = ("home", "cache", "work", "tmp", "var-tmp", "shm")
"""Folders in which nothing may be left, as they lie under /mnt."""

SEE = """
mount --bind {folder} /mnt
mount --bind {root} {there}
mount --bind /mnt/tmp /tmp
mount --bind /mnt/var-tmp /var/tmp
mount --bind /mnt/shm /dev/shm
mount --bind /mnt/resolv.conf /etc/resolv.conf
cd /mnt/work && exec "$@"
"""


def there(path: str) -> str:
    """A path of the checkout as the commands see it; others stay as they are."""
    own = Path(path)
    return str(THERE / own.relative_to(ROOT)) if own.is_relative_to(ROOT) else path


class NameServer:
    """A name server on the host's loopback that knows the hub alone; it notes what it is asked."""

    def __init__(self, host: Host) -> None:
        self.asked: list[str] = []
        with host.entered():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.bind(("127.0.0.1", 53))
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> "NameServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join(10)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            question, sender = self._socket.recvfrom(512)
            if not question:  # our own
                return
            self._socket.sendto(self._answer(question), sender)

    def _answer(self, question: bytes) -> bytes:
        """RFC 1035, 4.1: the question again, with an A record for the hub, or NXDOMAIN."""
        labels, at = [], 12
        while size := question[at]:
            labels.append(question[at + 1 : at + 1 + size].decode("ascii", "replace"))
            at += 1 + size
        kind, end = struct.unpack_from("!H", question, at + 1)[0], at + 5
        name = ".".join(labels)
        self.asked.append(name)
        known = name == HUB
        found = known and kind == 1
        header = struct.pack("!HHHHH", 0x8180 if known else 0x8183, 1, found, 0, 0)
        record = struct.pack("!HHHIH4s", 0xC00C, 1, 1, 60, 4, bytes((127, 0, 0, 1)))
        return question[:2] + header + question[12:end] + (record if found else b"")


class Watched:
    """Commands of `hearth` on a host, in a home of their own."""

    def __init__(self, host: Host, folder: Path, hub: HubServer) -> None:
        self.folder = folder
        for name in (*TIDY, "data", "checkout"):
            (folder / name).mkdir()
        (folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        see = f"set -e\n{SEE.format(folder=folder, root=ROOT, there=THERE)}"
        self._prefix = host.command(
            "unshare", "--mount", "sh", "-c", see, "sh", *map(there, HEARTH)
        )
        # Nothing is handed down: tests switch telemetry off for themselves.
        self._environment = {
            "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "PYTHONPATH": str(THERE / "src"),
            "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/mnt/home", "XDG_CACHE_HOME": "/mnt/cache",
            "HEARTH_HUB__ENDPOINT": f"http://{HUB}:{hub.port}", "HEARTH_DATA_DIR": "/mnt/data",
            # Whoever asks for it the other way round is not heard.
            "ORT_DISABLE_TELEMETRY": "0", "HF_HUB_DISABLE_TELEMETRY": "0",
        }  # fmt: skip

    def run(self, *arguments: object) -> Done:
        """Run a command to its end."""
        done = subprocess.run(
            [*self._prefix, *(there(str(each)) for each in arguments)], env=self._environment,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def serving(self, *arguments: str) -> Iterator[str]:
        """The address of a node that is ready."""
        process = subprocess.Popen(
            [*self._prefix, "serve", "--port", "0", *arguments], env=self._environment,
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stderr is not None
        log = Lines(process.stderr)
        try:
            port = log.until(lambda line: "listening on" in line).rpartition(":")[2].strip()
            signs = ("clip is ready", "ocr is ready")
            log.until(lambda _: all(sign in "".join(log.seen) for sign in signs), timeout=60)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            assert process.wait(20) == 0
            log.close()

    def left(self) -> list[str]:
        """What lies in folders that are not the node's."""
        found = (path for name in TIDY for path in (self.folder / name).rglob("*"))
        return sorted(str(path.relative_to(self.folder)) for path in found)


@pytest.fixture
def watched(
    lan: Lan, tmp_path: Path, tiny_export: Path, tiny_folder: Path
) -> Iterator[tuple[Watched, NameServer]]:
    require_tools("unshare", "mount")
    host = lan["node"]
    with host.entered():
        hub = HubServer()
    with hub, NameServer(host) as names:
        hub.add_repository("org/tiny", tiny_export)
        shutil.copytree(tiny_folder, tmp_path / "tiny")
        yield Watched(host, tmp_path, hub), names


@pytest.mark.timeout(240)  # ten processes that import engines
def test_a_nodes_whole_life_tells_nobody_and_leaves_nothing_outside_its_folder(watched):
    life, names = watched
    model = ("--set", "clip.model=org/tiny")
    clip = ("--service", "clip,ocr", "--model", "org/tiny", "--set", "clip.templates=single")
    with life.serving(*clip) as target:
        read = life.run("infer", "ocr", PAGE, "--node", target)
        assert TITLE in read.out, read.err
        assert life.run("infer", "clip_image_embed", PAGE, "--node", target).code == 0
    for command in (
        ("doctor", *model),
        ("models", "verify", *model),
        ("models", "export", "org/tiny", "--precision", "int8"),
        ("models", "export", "/mnt/tiny"),  # with torch
    ):
        done = life.run(*command)
        assert done.code == 0, (command, done)
    assert names.asked and set(names.asked) == {HUB}
    assert life.left() == []
    assert any((life.folder / "data").iterdir())
