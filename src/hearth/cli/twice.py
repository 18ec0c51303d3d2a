"""Being told to end a second time: then it is at once."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Self

from hearth.cli.stopping import Stopping

SHOW_CURSOR = "\x1b[?25h"
"""DECTCEM of a terminal: a bar hides it."""


class Twice:
    """Entered while a loop runs: the second Ctrl-C ends the process, wherever it is.

    The first one is the loop's. ``stopping`` has the exit code, ``last_words`` what is still
    to be said.
    """

    def __init__(self, stopping: Stopping, last_words: Callable[[], str]) -> None:
        self._stopping = stopping
        self._last_words = last_words
        self._is_told = False

    def __enter__(self) -> Self:
        self._is_main = threading.current_thread() is threading.main_thread()
        if self._is_main:
            self._first = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._is_main and not self._is_told:
            signal.signal(signal.SIGINT, self._first)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if not self._is_told:
            self._is_told = True
            if callable(self._first):
                self._first(number, frame)
            return
        # No thread is waited for and nothing is cleaned up: either may be what hangs.
        words = self._last_words()
        if sys.stderr.isatty():
            words = f"\r{SHOW_CURSOR}{words}"
        os.write(2, words.encode(errors="replace"))
        os._exit(self._stopping.code)
