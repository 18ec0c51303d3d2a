"""Threads that several queues share, to prepare items ahead of the models."""

import logging
import threading
from collections import deque
from collections.abc import Callable

log = logging.getLogger(__name__)

Job = Callable[[], None]
Supply = Callable[[], Job | None]
"""Gives the next job, or None where there is none to do now; called under the workers' lock."""


class Workers:
    """A few threads and those who have work for them, served in turns.

    Lock order: the workers' lock, then a supplier's own. A supplier calls ``wake`` with
    none of its locks held.
    """

    def __init__(self, threads: int, name: str = "decode") -> None:
        self.threads = threads
        self._name = name
        self._supplies: deque[Supply] = deque()
        self._changed = threading.Condition()
        self._started = self._closed = False

    def join(self, supply: Supply) -> None:
        """Serve one more supplier; the first one starts the threads."""
        with self._changed:
            self._supplies.append(supply)
            if self._started or self._closed:
                return
            self._started = True
        for number in range(self.threads):
            thread = threading.Thread(target=self._work, name=f"{self._name}-{number}", daemon=True)
            thread.start()

    def leave(self, supply: Supply) -> None:
        """Serve it no longer; a job of it may still be running."""
        with self._changed:
            if supply in self._supplies:
                self._supplies.remove(supply)

    def wake(self, jobs: int = 1) -> None:
        """Say that there may be so many more jobs to do."""
        with self._changed:
            self._changed.notify(jobs)

    def close(self) -> None:
        """Let the threads end once their jobs are done; doesn't wait for that."""
        with self._changed:
            self._closed = True
            self._supplies.clear()
            self._changed.notify_all()

    def _work(self) -> None:
        while (job := self._wait()) is not None:
            try:
                job()
            except BaseException:
                log.exception("a job of %s failed in a way that nobody foresaw", self._name)
            del job  # and what it holds, while waiting for the next

    def _wait(self) -> Job | None:
        with self._changed:
            while not self._closed:
                for _ in range(len(self._supplies)):
                    supply = self._supplies[0]
                    self._supplies.rotate(-1)
                    if (job := supply()) is not None:
                        return job
                self._changed.wait()
            return None
