"""Sources read beside the loop, a few at a time, with a bound on what is held of them."""

import asyncio
import math
import threading
import time
from collections import deque
from functools import partial
from typing import Any

from hearth.blocking import run_blocking
from hearth.catalog import TaskInfo
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


class _Read:
    """A source that is to be read."""

    __slots__ = ("future", "is_abandoned", "is_begun", "mime", "source", "task")

    def __init__(
        self, source: Any, task: TaskInfo, mime: str, future: "asyncio.Future[Payload]"
    ) -> None:
        self.source = source
        self.task = task
        self.mime = mime
        self.future = future
        self.is_begun = False
        self.is_abandoned = False


class SourceReader:
    """Reads payloads; ``held`` bytes of them are in use, ``max_bytes`` at most.

    Threads take source after source from one queue, so that many small files cost few wakes.
    """

    def __init__(self, max_bytes: int) -> None:
        self.held = 0
        self._max = max_bytes
        self._waiting: deque[_Read] = deque()
        self._readers = 0
        self._lock = threading.Lock()
        """Guards all of the above."""
        self._room = threading.Condition(self._lock)
        self._blocked = 0
        """Readers that wait for room."""
        self._runs: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def take_now(self, source: Any, task: TaskInfo) -> Payload | None:
        """Return the payload of bytes or a text, if there is room; else None: ``take`` it.

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

    async def take(
        self, source: Any, task: TaskInfo, mime: str = "", *, deadline: float
    ) -> Payload:
        """Return the payload of a source; it counts until it is given back.

        ``deadline`` is of the loop's clock. Raises DeadlinePassed, and Unreadable.
        """
        if not mime and (payload := self.take_now(source, task)) is not None:
            return payload
        loop = asyncio.get_running_loop()
        read = _Read(source, task, mime, loop.create_future())
        with self._lock:
            self._waiting.append(read)
        self._add_reader(loop, 1)
        timer = None if math.isinf(deadline) else loop.call_at(deadline, _expire, read)
        try:
            return await read.future
        except asyncio.CancelledError:
            if read.future.done() and not read.future.cancelled() and not read.future.exception():
                self.give_back(read.future.result())
            raise
        finally:
            if timer is not None:
                timer.cancel()
            self._abandon(read)

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

    def _abandon(self, read: _Read) -> None:
        """Let it be, unless it was read: its reader, which may hang, counts no longer."""
        with self._lock:
            read.is_abandoned = True
            if read.is_begun:
                self._readers -= 1
                self._room.notify_all()

    def _add_reader(self, loop: asyncio.AbstractEventLoop, most: int) -> None:
        """Start another reader if there are fewer than ``most``, and see to it that more join."""
        with self._lock:
            is_added = self._readers < most and bool(self._waiting)
            self._readers += is_added
        if is_added:
            run = loop.create_task(run_blocking(partial(self._read, loop)))
            self._runs.add(run)
            run.add_done_callback(self._runs.discard)
        if self._timer is None:
            self._timer = loop.call_later(JOIN_SECONDS, self._join, loop)

    def _join(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._waiting:
            self._add_reader(loop, MAX_READERS)

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read what waits, on a thread."""
        results: list[tuple[_Read, Payload | Exception]] = []
        since = time.monotonic()
        while (read := self._next()) is not None:
            try:
                result: Payload | Exception = load(read.source, read.task, read.mime)
            except Exception as error:  # a source may be anybody's class
                result = error
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

    def _next(self) -> _Read | None:
        """Begin to read what is next in line; None: this reader is done."""
        with self._lock:
            while self._waiting:
                read = self._waiting.popleft()
                if not read.is_abandoned:
                    read.is_begun = True
                    return read
            self._readers -= 1
            return None

    def _end(self, read: _Read, result: Payload | Exception, *, wait: bool) -> bool:
        """Hold what was read, and with ``wait`` wait until there is room.

        False: there is none, or nobody wants it, nor this reader, any more.
        """
        with self._lock:
            while not read.is_abandoned:
                if isinstance(result, Exception) or self._try_hold(result):
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
        results: list[tuple[_Read, Payload | Exception]],
    ) -> None:
        if results and not loop.is_closed():
            loop.call_soon_threadsafe(self._settle, results)

    def _settle(self, results: list[tuple[_Read, Payload | Exception]]) -> None:
        for read, result in results:
            if read.future.done():
                if not isinstance(result, Exception):
                    self.give_back(result)
            elif isinstance(result, Exception):
                error = Unreadable()
                error.__cause__ = result
                read.future.set_exception(error)
            else:
                read.future.set_result(result)


def _expire(read: _Read) -> None:
    if not read.future.done():
        read.future.set_exception(DeadlinePassed("no time was left to read it"))
