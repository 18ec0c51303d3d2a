"""Several nodes as processes of their own, on loopback or on the hosts of a LAN."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from checkout import KITS
from lan_kit import Host

SCRIPT = str(KITS / "lab_process.py")
CLIENT_SCRIPT = str(Path(__file__).with_name("lan_client.py"))


class LabProcess:
    """A node with the lab's tasks; ``settings`` are the node's, ``lab`` the lab's own.

    It can be killed and started again: at the same port, with the same data folder.
    """

    def __init__(
        self,
        host: Host | None = None,
        *,
        port: int = 0,
        seconds: float = 0,
        model: str = "lab-1",
        poison: str = "",
        **settings: object,
    ) -> None:
        self._host = host
        self._folder = tempfile.TemporaryDirectory()
        self._settings = {
            "data_dir": self._folder.name,
            "host": "0.0.0.0" if host else "127.0.0.1",
            "mdns.enabled": host is not None,
            **settings,
        }
        self._environment = os.environ | {
            "LAB_SECONDS": str(seconds),
            "LAB_MODEL": model,
            "LAB_POISON": poison,
        }
        self.port = port
        self.process: subprocess.Popen[str] | None = None

    @property
    def target(self) -> str:
        """HOST:PORT."""
        return f"{self._host.address if self._host else '127.0.0.1'}:{self.port}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._folder.cleanup()

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        return self.process is not None and self.process.poll() is None

    def ended(self) -> int:
        """Wait for its end; the exit code."""
        assert self.process is not None
        return self.process.wait(20)

    def begin(self) -> Self:
        """Start it without waiting until it serves."""
        words = [f"{name}={value}" for name, value in self._settings.items()]
        command = [sys.executable, SCRIPT, str(self.port), *words]
        self.process = subprocess.Popen(
            self._host.command(*command) if self._host else command,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return self

    def serving(self) -> Self:
        """Return when it serves."""
        assert self.process is not None and self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.strip().isdigit(), f"the node did not start: {line!r}"
        self.port = int(line)
        return self

    def start(self) -> Self:
        """Start it, and wait until it serves."""
        return self.begin().serving()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def revive(self, times: int) -> None:
        """Start it again each time that it dies, so often."""
        for _ in range(times):
            assert self.process is not None
            self.process.communicate()
            self.start()

    def stop(self) -> None:
        """Tell it to end, and wait for that."""
        assert self.process is not None
        self.process.terminate()
        self.process.communicate(timeout=20)
        self.process = None


@contextmanager
def lab_processes(*nodes: LabProcess) -> Iterator[tuple[LabProcess, ...]]:
    """All of them, started at once."""
    try:
        for node in nodes:
            node.begin()
        for node in nodes:
            node.serving()
        yield nodes
    finally:
        for node in nodes:
            node.__exit__()


class Told(NamedTuple):
    """An answer as an application had it."""

    index: int
    name: str
    body: str
    node: str
    error: str
    at: float
    """When, of the monotonic clock."""


class ClientProcess:
    """An application on a host, that maps the files of a folder; see ``lan_client.py``.

    What it says is read while a test waits for something in ``until``.
    """

    def __init__(self, host: Host, folder: Path) -> None:
        self._host, self._folder = host, folder
        self.nodes: dict[str, str] = {}
        """The state of each node that it knows, by HOST:PORT."""
        self.since_opening = 0.0
        """Seconds from the opening of the client to the last change of a node."""
        self.answers: list[Told] = []
        self.has_ended = False

    def __enter__(self) -> Self:
        self._process = self._host.popen(
            sys.executable,
            CLIENT_SCRIPT,
            str(self._folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def up(self) -> set[str]:
        """The nodes that answer."""
        return {target for target, state in self.nodes.items() if state == "up"}

    def map(self, count: int) -> None:
        """Let it have so many files answered."""
        self._say(f"map {count}")

    def until(self, condition: Callable[[], object]) -> float:
        """Read what it says until the condition holds; the seconds that it took."""
        began = at = time.monotonic()
        while not condition():
            at = self._hear()
        return max(0.0, at - began)

    def until_answers(self, count: int) -> None:
        """Read until there are so many more answers."""
        wanted = len(self.answers) + count
        self.until(lambda: len(self.answers) >= wanted)

    def shares(self, last: int) -> Counter[str]:
        """Who gave the last so many answers."""
        return Counter(answer.node for answer in self.answers[-last:])

    def enough(self) -> None:
        """Let it draw no more sources, and read the answers to those it has drawn."""
        self._say("enough")
        self.until_end()

    def until_end(self) -> None:
        """Read all answers of the map."""
        self.until(lambda: self.has_ended)

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def _hear(self) -> float:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the client has ended"
        said: dict[str, Any] = json.loads(line)
        if "nodes" in said:
            self.nodes, self.since_opening = said["nodes"]
        elif "answer" in said:
            self.answers.append(Told(*said["answer"], said["at"]))
        else:
            self.has_ended = True
        return float(said["at"])
