"""Being told to end: by a signal as by Ctrl-C, and the second time at once."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Self

from hearth.cli.exit_codes import INTERRUPTED

SHOW_CURSOR = "\x1b[?25h"
"""DECTCEM of a terminal: a bar hides it."""

_SHELLS_OWN = 128
"""Number that shells add to a signal's for the exit code."""


class StopSignals:
    """Context in which SIGTERM and SIGHUP end the work as Ctrl-C does."""

    code = INTERRUPTED
    """Exit code that belongs to what ended it."""

    def __enter__(self) -> Self:
        self._replaced = []
        if threading.current_thread() is threading.main_thread():
            # One that is ignored stays so: that's how `nohup` works.
            self._replaced = [
                number
                for name in ("SIGTERM", "SIGHUP")
                if (number := getattr(signal, name, None)) is not None
                and signal.getsignal(number) is signal.SIG_DFL
            ]
        for number in self._replaced:
            signal.signal(number, self._as_interrupt)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number in self._replaced:
            signal.signal(number, signal.SIG_DFL)

    def _as_interrupt(self, number: int, _: FrameType | None) -> None:
        self.code = _SHELLS_OWN + number
        signal.raise_signal(signal.SIGINT)


class SecondInterrupt:
    """Context in which the second Ctrl-C ends the process, wherever it is.

    The first one is the loop's. ``stopping`` has the exit code, ``last_words`` what is still
    to be said.
    """

    def __init__(self, stopping: StopSignals, last_words: Callable[[], str]) -> None:
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
