"""Where the command line writes: answers to stdout, everything else to stderr."""

import os
import sys
from functools import lru_cache
from typing import TextIO

from rich.console import Console

PIPE_WIDTH = 120
"""Columns where nobody looks at a terminal, unless COLUMNS says otherwise."""


def _console(stream: TextIO) -> Console:
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(file=stream, width=width, highlight=False, emoji=False)


@lru_cache(maxsize=1)
def output() -> Console:
    """Stdout: answers."""
    return _console(sys.stdout)


@lru_cache(maxsize=1)
def notes() -> Console:
    """Stderr: progress, hints and errors."""
    return _console(sys.stderr)


def complain(message: str) -> None:
    """One error, in one line."""
    notes().print(f"hearth: {message}", style="red", markup=False, soft_wrap=True)


def warn(message: str) -> None:
    """One line of what is probably not as it was meant."""
    notes().print(message, style="yellow", markup=False, soft_wrap=True)


def hint(message: str) -> None:
    """One line that helps, beside the answers."""
    notes().print(message, style="dim", markup=False, soft_wrap=True)


def print_json(value: object) -> None:
    """One line of JSON, at once, whatever the width."""
    import orjson

    sys.stdout.write(orjson.dumps(value).decode() + "\n")
    sys.stdout.flush()
