"""Threads that several queues share, to prepare items ahead of the models."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from functools import cached_property

log = logging.getLogger(__name__)

Job = Callable[[], None]
Supply = Callable[[], Job | None]
"""Callback that gives the next job, or None where there is none to do now; called under the
workers' lock."""


class Workers:
    """A few threads and those who have work for them, served in turns.

    The threads run as long as there is anybody to serve. Lock order: the workers' lock,
    then a supplier's own. A supplier calls ``wake`` with none of its locks held.
    """

    def __init__(self, threads: int, name: str = "preprocess") -> None:
        self.threads = threads
        self._name = name
        self._supplies: deque[Supply] = deque()
        self._lock = threading.Lock()  # `with` on it is C, on the condition Python
        self._changed = threading.Condition(self._lock)
        self._shift = 0
        """Counts up whenever threads start or are to end: each serves one shift."""
        self._closed = False

    @cached_property
    def exclusive(self) -> "Workers":
        """One more thread, for items of which there must be only one at a time."""
        return Workers(1, f"{self._name}-exclusive")

    def join(self, supply: Supply) -> None:
        """Serve one more supplier; for the first one the threads start."""
        with self._lock:
            if self._closed:
                return
            self._supplies.append(supply)
            if len(self._supplies) > 1:
                return
            self._shift += 1
            shift = self._shift
        for number in range(self.threads):
            threading.Thread(
                target=self._work, args=[shift], name=f"{self._name}-{number}", daemon=True
            ).start()

    def leave(self, supply: Supply) -> None:
        """Serve a supplier no longer; a job of it may still be running."""
        with self._lock:
            if supply in self._supplies:
                self._supplies.remove(supply)
            if not self._supplies:
                self._end_shift()

    def wake(self, jobs: int = 1) -> None:
        """Say that there may be so many more jobs to do."""
        with self._lock:
            self._changed.notify(jobs)

    def close(self) -> None:
        """Let the threads end once their jobs are done; doesn't wait for that."""
        with self._lock:
            self._closed = True
            self._supplies.clear()
            self._end_shift()
        if "exclusive" in self.__dict__:
            self.exclusive.close()

    def _end_shift(self) -> None:
        self._shift += 1
        self._changed.notify_all()

    def _work(self, shift: int) -> None:
        while (job := self._wait(shift)) is not None:
            try:
                job()
            except BaseException:
                log.exception("a job of %s failed in a way that nobody foresaw", self._name)
            del job  # and what it holds, while waiting for the next

    def _wait(self, shift: int) -> Job | None:
        with self._lock:
            while self._shift == shift:
                for _ in range(len(self._supplies)):
                    supply = self._supplies[0]
                    self._supplies.rotate(-1)
                    if (job := supply()) is not None:
                        return job
                self._changed.wait()
            return None
