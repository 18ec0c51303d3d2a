"""The command line for tests: real processes, and a real node for them to talk to."""

import fcntl
import io
import os
import pty
import queue
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from unittest.mock import patch

import orjson
import skimage

HEARTH = (sys.executable, "-m", "hearth")
PAGE = Path(skimage.__file__).parent / "data" / "page.png"
TITLE = "Region-based segmentation"
"""The first line on the page."""


@dataclass
class Done:
    """What a command of `hearth` left behind."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict]:
        """Its output as JSON lines."""
        return [orjson.loads(line) for line in self.out.splitlines()]


def environment(**changes: str) -> dict[str, str]:
    """Ours without what would lead a command astray; nothing reaches for a model hub."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HEARTH_", "CLIP_")) and name != "COLUMNS"
    }
    return {**clean, "HF_HUB_OFFLINE": "1", **changes}


def hearth(
    *arguments: object,
    given: bytes | None = None,
    cwd: Path | None = None,
    timeout: float = 30,
    **changes: str,
) -> Done:
    """Run a command to its end; ``changes`` are of the environment."""
    done = subprocess.run(
        [*HEARTH, *map(str, arguments)],
        input=given,
        stdin=subprocess.DEVNULL if given is None else None,
        capture_output=True,
        cwd=cwd,
        timeout=timeout,
        env=environment(**changes),
        check=False,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def hearth_here(*arguments: object, cwd: Path | None = None, **changes: str) -> Done:
    """As ``hearth``, but within this process: a third of the time, one at a time.

    For what a command does; how a process starts and ends is for ``hearth``.
    """
    from hearth.cli import console
    from hearth.cli.main import main

    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with (
        patch.dict(os.environ, environment(**changes), clear=True),
        chdir(cwd or Path.cwd()),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        for made in (console.output, console.notes):
            made.cache_clear()
        try:
            code = main([*map(str, arguments)])
        finally:
            for made in (console.output, console.notes):
                made.cache_clear()
    return Done(code, *(stream.buffer.getvalue().decode() for stream in (out, err)))


def on_terminal(columns: int, *arguments: object, code: int = 0) -> str:
    """What a command writes to a terminal that wide."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [*HEARTH, *map(str, arguments)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(TERM="xterm-256color"),
    )
    os.close(theirs)
    written = b""
    try:
        while block := os.read(ours, 65536):
            written += block
    except OSError:  # Linux's way to say that nobody has the terminal any more
        pass
    os.close(ours)
    assert process.wait(30) == code
    return written.decode()


def at_once(*commands: Callable[[], Done]) -> list[Done]:
    """What the commands leave behind, run side by side."""
    with ThreadPoolExecutor() as threads:
        return [future.result() for future in [threads.submit(each) for each in commands]]


PATIENCE = 60.0
"""Seconds that a process gets for what it is to say, on a machine however busy: half of what a
test may take."""


class Lines:
    """The lines of a running process, to be waited for with a deadline."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lines: queue.Queue[str] = queue.Queue()
        self.seen: list[str] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def until(self, wanted: Callable[[str], object], timeout: float = PATIENCE) -> str:
        """The first line of which ``wanted(line)`` is true."""
        give_up = time.monotonic() + timeout
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, give_up - time.monotonic()))
            except queue.Empty:
                raise AssertionError("it never came:\n" + "".join(self.seen)) from None
            self.seen.append(line)
            if wanted(line):
                return line

    def close(self) -> None:
        """Once the process has ended."""
        self._thread.join(10)
        self._stream.close()

    def _read(self) -> None:
        for line in self._stream:
            self._lines.put(line)


@contextmanager
def ocr_node(folder: Path, *arguments: str, prefix: tuple[str, ...] = ()) -> Iterator[str]:
    """The address of a `hearth serve` with ocr alone, once it is ready."""
    process = subprocess.Popen(
        [*prefix, *HEARTH, "serve", "--port", "0", "--service", "ocr", *arguments],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    log = Lines(process.stderr)
    try:
        port = log.until(lambda line: "listening on" in line).rpartition(":")[2].strip()
        log.until(lambda line: "ready: ocr ready" in line)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        assert process.wait(20) == 0
        log.close()
