"""Several nodes as processes of their own, on loopback or on the hosts of a LAN."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from lan_kit import Host

SCRIPT = str(Path(__file__).with_name("lab_process.py"))


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
