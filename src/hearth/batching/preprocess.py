"""Worker threads' side of a queue: raw entries become ready ones, or answers."""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from hearth.batching.context import QueueEntry, as_failure, resolve
from hearth.batching.scheduler import Scheduler
from hearth.batching.statistics import QueueMetrics
from hearth.batching.workers import Job, Workers


class Exclusive(Exception):
    """Raised by a ``prepare``: this item takes so much memory that it waits for its turn alone.

    ``prepare`` is what makes the item then, on the one thread for such items.
    """

    def __init__(self, prepare: Callable[[Any], Any]) -> None:
        super().__init__("an item that is to be prepared alone")
        self.prepare = prepare


class Preprocessor:
    """Gives ``workers`` the jobs that one queue has for them, under the queue's lock.

    ``ready`` is called, under the lock, for each entry that is ready to run; None: an entry
    that is prepared is done.
    """

    def __init__(
        self,
        name: str,
        workers: Workers,
        *,
        lock: threading.Lock,
        scheduler: Scheduler,
        metrics: QueueMetrics,
        ready: Callable[[], None] | None,
    ) -> None:
        self._name = name
        self._workers = workers
        self._scheduler = scheduler
        self._metrics = metrics
        self._lock = lock
        self._ready = ready
        self._supplies = (
            (workers, partial(self._next_job, exclusive=False)),
            (workers.exclusive, partial(self._next_job, exclusive=True)),
        )
        for threads, supply in self._supplies:
            threads.join(supply)

    def wake(self, places: int = 1) -> None:
        """Tell the workers that so many more entries may be prepared; not under the lock."""
        if self._scheduler.raw.count:
            self._workers.wake(places)
        if self._scheduler.exclusive.count:
            self._workers.exclusive.wake()

    def leave(self) -> None:
        """Give the workers no more jobs."""
        for threads, supply in self._supplies:
            threads.leave(supply)

    def _next_job(self, *, exclusive: bool) -> Job | None:
        scheduler = self._scheduler
        if not (scheduler.exclusive if exclusive else scheduler.raw).count:
            return None  # who comes now wakes a worker afterwards
        with self._lock:
            entry, late = scheduler.next_raw(time.monotonic(), exclusive=exclusive)
        if late:
            resolve(late)
        return None if entry is None else partial(self._prepare, entry)

    def _prepare(self, entry: QueueEntry) -> None:
        began = time.monotonic()
        failure: BaseException | None = None
        prepare, entry.prepare = entry.prepare, None
        assert prepare is not None
        try:
            entry.item = prepare(entry.item)
        except Exclusive as exclusive:
            self._put_back(entry, exclusive)
            return
        except BaseException as error:  # also a panic in a native library
            failure = as_failure(error, self._name)
        entry.since = time.monotonic()
        if entry.timings is not None:
            entry.timings.preprocess += entry.since - began
        outcomes: list[tuple[QueueEntry, Any]] = []
        with self._lock:
            if failure is None and self._scheduler.closed:
                failure = self._scheduler.closing()
            wanted = failure is None and not entry.future.cancelled()
            self._metrics.prepared(entry.since - began, failed=failure is not None, wanted=wanted)
            if not wanted:
                self._scheduler.prepared(entry, wanted=False)
                outcomes = [(entry, failure)]
            elif self._ready is None:
                outcomes = self._finish(entry)
            else:
                self._scheduler.prepared(entry, wanted=True)
                self._ready()
        if outcomes:
            resolve(outcomes)
        if self._ready is None or not wanted:
            self.wake()  # its place is free

    def _finish(self, entry: QueueEntry) -> list[tuple[QueueEntry, Any]]:
        """Answer an entry that needs no run; unless it is too late for it."""
        done, outcomes = self._scheduler.finish(entry, entry.since)
        if done:
            self._metrics.finished(entry)
            entry.add_times(0.0, 0)
            outcomes.append((entry, entry.item))
        return outcomes

    def _put_back(self, entry: QueueEntry, exclusive: Exclusive) -> None:
        """Have an entry prepared alone: no thread that others need waits with it."""
        entry.prepare, entry.exclusive = exclusive.prepare, True
        entry.since = time.monotonic()
        with self._lock:
            kept = self._scheduler.make_exclusive(entry)
        if not kept:
            resolve([(entry, self._scheduler.closing())])
        self.wake()
