"""Sources read beside the loop, a few at a time, with a bound on what is held of them."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from hearth.blocking import run_blocking
from hearth.catalog import TaskInfo
from hearth.client.deadlines import Deadlines
from hearth.client.sources import Payload, load
from hearth.errors import DeadlinePassed

MAX_READERS = 4
"""Number of files that are read at once: enough to hide the latency of a network's file system."""
JOIN_SECONDS = 0.005
"""Time after which another reader joins where sources still wait. Files that the kernel has in
memory are read by one: threads that take turns at the interpreter cost more than the reading."""
DELIVER_SECONDS = 0.001
"""Time after which the loop is woken for what has been read, if more is to be read."""


class Unreadable(Exception):
    """A source can't be read; the cause is what ``load`` raised."""


Failed = DeadlinePassed | Unreadable


class PendingRead:
    """A source that is to be read; ``finish`` is called once, unless it is cancelled before.

    It is given the payload, which counts until it is given back, or why there is none:
    DeadlinePassed, or Unreadable.
    """

    __slots__ = ("deadline", "finish", "is_abandoned", "is_begun", "mime", "source", "task")

    def __init__(
        self,
        source: Any,
        task: TaskInfo,
        mime: str,
        deadline: float,
        finish: Callable[[Payload | Failed], None],
    ) -> None:
        self.source = source
        self.task = task
        self.mime = mime
        self.deadline = deadline
        """Time, of the loop's clock, by which it is to be read."""
        self.finish = finish
        self.is_begun = False
        """True while a thread reads it."""
        self.is_abandoned = False
        """True once nobody waits for it."""


class SourceReader:
    """Reads payloads; ``held`` bytes of them are in use, ``max_bytes`` at most.

    Threads take source after source from one queue, so that many small files cost few wakes.
    """

    def __init__(self, max_bytes: int) -> None:
        self.held = 0
        self._max = max_bytes
        self._waiting: deque[PendingRead] = deque()
        self._readers = 0
        self._lock = threading.Lock()
        """Guards all of the above."""
        self._room = threading.Condition(self._lock)
        self._blocked = 0
        """Readers that wait for room."""
        self._open: set[PendingRead] = set()
        self._deadlines = Deadlines(lambda: self._open, self._expire)
        self._runs: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def take_now(self, source: Any, task: TaskInfo) -> Payload | None:
        """Return the payload of bytes or a text, if there is room; else None: ``read`` it.

        It counts until it is given back.
        """
        if isinstance(source, bytes) or (isinstance(source, str) and task.takes_text):
            try:
                payload = load(source, task)
            except ValueError:
                return None
            with self._lock:
                return payload if self._try_hold(payload) else None
        return None

    def read(self, read: PendingRead) -> None:
        """Read a source on a thread."""
        self._open.add(read)
        with self._lock:
            self._waiting.append(read)
        self._add_reader(1)
        self._deadlines.add(read.deadline)

    async def take(
        self, source: Any, task: TaskInfo, mime: str = "", *, deadline: float
    ) -> Payload:
        """Return the payload of a source, by ``deadline`` of the loop's clock.

        It counts until it is given back. Raises DeadlinePassed, and Unreadable.
        """
        if not mime and (payload := self.take_now(source, task)) is not None:
            return payload
        done: asyncio.Future[Payload] = asyncio.get_running_loop().create_future()

        def finish(result: Payload | Failed) -> None:
            if isinstance(result, Failed):
                if not done.done():
                    done.set_exception(result)
            elif done.done():  # cancelled a moment ago
                self.give_back(result)
            else:
                done.set_result(result)

        read = PendingRead(source, task, mime, deadline, finish)
        self.read(read)
        try:
            return await done
        except asyncio.CancelledError:
            self.cancel(read)
            if done.done() and not done.cancelled() and done.exception() is None:
                self.give_back(done.result())
            raise

    def cancel(self, read: PendingRead) -> None:
        """Let a source be, and its thread, which may hang; ``finish`` isn't called."""
        self._open.discard(read)
        with self._lock:
            read.is_abandoned = True
            was_begun, read.is_begun = read.is_begun, False
            self._readers -= was_begun
            self._room.notify_all()
        if was_begun:
            self._add_reader(MAX_READERS)

    def give_back(self, payload: Payload) -> None:
        """Count a payload no longer."""
        with self._lock:
            self.held -= len(payload.content)
            if self._blocked:
                self._room.notify_all()

    def _try_hold(self, payload: Payload) -> bool:
        size = len(payload.content)
        if self.held and self.held + size > self._max:
            return False
        self.held += size
        return True

    def _expire(self, late: list[PendingRead]) -> None:
        for read in late:
            self.cancel(read)
        for read in late:
            read.finish(DeadlinePassed("no time was left to read it"))

    def _add_reader(self, most: int) -> None:
        """Start another reader if there are fewer than ``most``, and see to it that more join."""
        loop = asyncio.get_running_loop()
        with self._lock:
            is_added = self._readers < most and bool(self._waiting)
            self._readers += is_added
            may_join = self._readers < MAX_READERS and bool(self._waiting)
        if is_added:
            run = loop.create_task(run_blocking(partial(self._read, loop)))
            self._runs.add(run)
            run.add_done_callback(self._runs.discard)
        if may_join and self._timer is None:
            self._timer = loop.call_later(JOIN_SECONDS, self._join)

    def _join(self) -> None:
        self._timer = None
        self._add_reader(MAX_READERS)

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read what waits, on a thread."""
        results: list[tuple[PendingRead, Payload | Failed]] = []
        since = time.monotonic()
        while (read := self._next()) is not None:
            try:
                result: Payload | Failed = load(read.source, read.task, read.mime)
            except Exception as error:  # a source may be anybody's class
                result = Unreadable()
                result.__cause__ = error
            if not self._end(read, result, wait=False):
                self._deliver(loop, results)  # they may be what there is no room for
                results = []
                if not self._end(read, result, wait=True):
                    return
            results.append((read, result))
            if time.monotonic() - since > DELIVER_SECONDS:
                self._deliver(loop, results)
                results, since = [], time.monotonic()
        self._deliver(loop, results)

    def _next(self) -> PendingRead | None:
        """Begin to read what is next in line; None: this reader is done."""
        with self._lock:
            while self._waiting:
                read = self._waiting.popleft()
                if not read.is_abandoned:
                    read.is_begun = True
                    return read
            self._readers -= 1
            return None

    def _end(self, read: PendingRead, result: Payload | Failed, *, wait: bool) -> bool:
        """Hold what was read, and with ``wait`` wait until there is room.

        False: there is none, or nobody wants it, nor this reader, any more.
        """
        with self._lock:
            while not read.is_abandoned:
                if isinstance(result, Failed) or self._try_hold(result):
                    read.is_begun = False
                    return True
                if not wait:
                    break
                self._blocked += 1
                self._room.wait()
                self._blocked -= 1
            return False

    def _deliver(
        self,
        loop: asyncio.AbstractEventLoop,
        results: list[tuple[PendingRead, Payload | Failed]],
    ) -> None:
        if results and not loop.is_closed():
            loop.call_soon_threadsafe(self._settle, results)

    def _settle(self, results: list[tuple[PendingRead, Payload | Failed]]) -> None:
        for read, result in results:
            if read in self._open:
                self._open.discard(read)
                read.finish(result)
            elif not isinstance(result, Failed):
                self.give_back(result)
