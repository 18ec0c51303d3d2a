"""`hearth serve` as a process, for tests that read its log and send it signals."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


class Serving:
    """A `hearth serve` with ocr alone."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.log = ""

    def read_until(self, pattern: str) -> "re.Match[str]":
        """Read the log until a line matches."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log += line
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"no {pattern!r} in the log:\n{self.log}")

    def send(self, signum: int) -> None:
        self.process.send_signal(signum)

    def wait(self) -> int:
        """The exit code."""
        try:
            self.log += self.process.communicate(timeout=20)[1]
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it doesn't end:\n{self.log}") from None
        return self.process.returncode


@contextmanager
def serving(
    folder: Path, *arguments: str, options: Mapping[str, Any] = NO_OPTIONS, **environment: str
) -> Iterator[Serving]:
    """Run a node in ``folder``; ``options`` are Popen's."""
    command = [sys.executable, "-m", "hearth", "serve", "--port", "0", "--service", "ocr",
               "--no-mdns", "--host", "127.0.0.1", *arguments]  # fmt: skip
    process = subprocess.Popen(
        command,
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        **options,
    )
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    try:
        yield Serving(process)
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()
