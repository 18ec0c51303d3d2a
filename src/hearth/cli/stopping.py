"""Being told to end by a signal: what Ctrl-C does, other signals do as well."""

import signal
import threading
from types import FrameType
from typing import Self

from hearth.cli.exit_codes import INTERRUPTED

_SHELLS_OWN = 128
"""Shells add it to a signal's number for the exit code."""


class Stopping:
    """While it is entered, SIGTERM and SIGHUP end the work as Ctrl-C does."""

    code = INTERRUPTED
    """The exit code that belongs to what ended it."""

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
