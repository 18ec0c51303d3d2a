"""Giving memory back to the system once a model falls idle."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hearth.machine import trim_memory

IDLE_SECONDS = 1.0


class IdleTrim:
    """Gives freed memory back a second after the last work has ended.

    Detection takes hundreds of megabytes for a moment, which the engine and the C library
    keep. Giving them back after every run costs a tenth of the CPU time of detection and of
    recognition (measured: the pages of memory must be had anew); when nothing is to do it
    costs a few milliseconds. Used from one event loop at a time.
    """

    def __init__(self, seconds: float = IDLE_SECONDS, trim: Callable[[], object] = trim_memory):
        self._seconds = seconds
        self._trim = trim
        self._busy = 0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Count as busy while work is being done."""
        self._busy += 1
        self.cancel()
        try:
            yield
        finally:
            self._busy -= 1
            if not self._busy and not self._closed:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(self._seconds, self._start, loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._closed:
            loop.run_in_executor(None, self._trim)

    def cancel(self) -> None:
        """Forget about it; only from the loop."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Forget about it for good; from any thread."""
        self._closed = True
