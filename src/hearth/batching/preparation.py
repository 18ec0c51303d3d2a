"""The side of a queue that worker threads see: raw entries become ready ones, or answers."""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from hearth.batching.entry import Entry, as_failure, resolve
from hearth.batching.lobby import Lobby
from hearth.batching.statistics import QueueMetrics
from hearth.batching.workers import Job, Workers


class Exclusive(Exception):
    """Raised by a ``prepare``: this item takes so much memory that it waits for its turn alone.

    ``prepare`` is what makes the item then, on the one thread for such items.
    """

    def __init__(self, prepare: Callable[[Any], Any]) -> None:
        super().__init__("a heavy item")
        self.prepare = prepare


class Preparation:
    """Gives ``workers`` the jobs that one queue has for them, under the queue's lock.

    ``is_all``: an entry that is prepared is done.
    """

    def __init__(
        self,
        name: str,
        workers: Workers,
        lobby: Lobby,
        counts: QueueMetrics,
        lock: threading.Condition,
        *,
        is_all: bool = False,
    ) -> None:
        self._name = name
        self._workers = workers
        self._lobby = lobby
        self._counts = counts
        self._lock = lock
        self._is_all = is_all
        self._supplies = (
            (workers, partial(self._next_job, heavy=False)),
            (workers.heavy, partial(self._next_job, heavy=True)),
        )
        for threads, supply in self._supplies:
            threads.join(supply)

    def wake(self, places: int = 1) -> None:
        """So many more entries may be prepared now; none of the queue's locks is held."""
        if self._lobby.raw:
            self._workers.wake(places)
        if self._lobby.heavy:
            self._workers.heavy.wake()

    def leave(self) -> None:
        """The queue is closed."""
        for threads, supply in self._supplies:
            threads.leave(supply)

    def _next_job(self, *, heavy: bool) -> Job | None:
        with self._lock:
            entry = self._lobby.next_raw(time.monotonic(), heavy=heavy)
            late = self._lobby.take_late()
        resolve(late)
        return None if entry is None else partial(self._prepare, entry)

    def _prepare(self, entry: Entry) -> None:
        began = time.monotonic()
        failure: BaseException | None = None
        try:
            entry.make_ready()
        except Exclusive as alone:
            self._put_aside(entry, alone)
            return
        except BaseException as error:  # also a panic in a native library
            failure = as_failure(error, self._name)
        entry.was_prepared(began, time.monotonic())
        with self._lock:
            if failure is None and self._lobby.closed:
                failure = self._lobby.closing()
            wanted = failure is None and not entry.future.cancelled()
            self._counts.prepared(entry.since - began, failed=failure is not None, wanted=wanted)
            if wanted and self._is_all:
                outcomes = self._answers(entry)
            else:
                self._lobby.prepared(entry, wanted=wanted)
                self._lock.notify()
                outcomes = [] if wanted else [(entry, failure)]
        resolve(outcomes)
        if self._is_all or not wanted:
            self.wake()  # its place is free

    def _answers(self, entry: Entry) -> list[tuple[Entry, Any]]:
        """What was prepared is done; unless it is too late for it."""
        done = self._lobby.done(entry, entry.since)
        if done:
            self._counts.done(entry)
            entry.ran(0.0, 0)
        return [*([(entry, entry.item)] if done else []), *self._lobby.take_late()]

    def _put_aside(self, entry: Entry, alone: Exclusive) -> None:
        """Into the line of heavy entries: no thread that others need waits with it."""
        entry.prepare, entry.heavy = alone.prepare, True
        entry.since = time.monotonic()
        with self._lock:
            kept = self._lobby.put_aside(entry)
        if not kept:
            resolve([(entry, self._lobby.closing())])
        self.wake()
