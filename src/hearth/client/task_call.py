"""A task with its options, asked for source after source."""

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Any

from hearth.catalog import TaskInfo
from hearth.client.affinity import ModelAffinity
from hearth.client.messages import Failure, Job, Outcome
from hearth.client.pool import NodePool
from hearth.client.retry import Done, PendingRequest, RetryPolicy, failed
from hearth.client.source_reader import Failed, PendingRead, SourceReader, Unreadable
from hearth.client.sources import Payload
from hearth.errors import HearthError

PATIENT = 300.0
"""Seconds: whoever waits so long need not tell the nodes."""


class TaskCall:
    """A task with its options, for nodes that ``affinity`` allows.

    ``timeout`` is in seconds for each source, ``within`` for all from the first one on.
    """

    def __init__(
        self,
        pool: NodePool,
        task: str,
        meta: Mapping[str, str],
        affinity: ModelAffinity | None,
        reader: SourceReader,
        *,
        timeout: float,
        within: float = math.inf,
    ) -> None:
        self.task = task
        tell = math.isfinite(within) or timeout < PATIENT
        self.policy = RetryPolicy(pool, affinity, tell)
        self._meta = meta
        self._reader = reader
        self._timeout = timeout
        self._within = within
        self._until: float | None = None
        self.info: TaskInfo | None = None
        """Description of the task by a node; None before one was asked for."""
        self._bare = Job(task, b"", meta=meta)
        self._room = 0
        self._room_of: tuple[object, object] = (None, None)

    def deadline(self, now: float) -> float:
        """Return the time, of the loop's clock, by which a source is to be done that begins now."""
        if self._until is None:
            self._until = now + self._within
        return min(now + self._timeout, self._until)

    def room(self) -> int:
        """Count the requests in flight that keep all nodes busy; at least one."""
        # Anew only where a node has changed, or the model of the answers.
        pool, affinity, _ = self.policy
        key = (pool.news, affinity and affinity.model)
        if key != self._room_of:
            self._room, self._room_of = pool.room(self.task, affinity), key
        return self._room

    def take_now(self, source: Any) -> Payload | None:
        """Return the payload of a source that needs no waiting; None: ``take`` it."""
        return None if self.info is None else self._reader.take_now(source, self.info)

    async def take(self, source: Any, deadline: float, mime: str = "") -> Payload:
        """Return the payload of a source, by ``deadline`` of the loop's clock.

        It counts until it is given back. Raises HearthError, Unreadable.
        """
        if self.info is None:
            pool, affinity, _ = self.policy
            self.info = await pool.info(self.task, deadline, affinity)
        return await self._reader.take(source, self.info, mime, deadline=deadline)

    def read(
        self, source: Any, deadline: float, finish: Callable[[Payload | Failed], None]
    ) -> PendingRead | None:
        """Begin to read a source; None where nothing is known of the task yet: ``take`` it."""
        if self.info is None:
            return None
        read = PendingRead(source, self.info, "", deadline, finish)
        self._reader.read(read)
        return read

    def cancel(self, read: PendingRead) -> None:
        """Let a source be that is being read."""
        self._reader.cancel(read)

    def give_back(self, payload: Payload) -> None:
        """Count a payload no longer."""
        self._reader.give_back(payload)

    def job(self, payload: Payload) -> Job:
        """Make the job of a payload."""
        return Job(self.task, payload.content, payload.mime, self._meta)

    def send(self, payload: Payload, request: PendingRequest, now: float) -> None:
        """Send the request of a payload; ``now`` is the loop's time."""
        if self._bare.mime != payload.mime:
            self._bare = Job(self.task, b"", payload.mime, self._meta)
        request.send(self.policy, self.job(payload), self._bare, now)

    async def done(self, source: Any, mime: str = "") -> Done:
        """Wait for what becomes of a source; raises HearthError, Unreadable where it isn't sent."""
        loop = asyncio.get_running_loop()
        deadline = self.deadline(loop.time())
        payload = await self.take(source, deadline, mime)
        try:
            request = _AwaitedRequest(deadline, loop)
            self.send(payload, request, loop.time())
            try:
                return await request.done
            except asyncio.CancelledError:
                request.cancel()
                raise
        finally:
            self._reader.give_back(payload)

    def not_sent(self, error: HearthError | Unreadable) -> Done:
        """Make the outcome of a source that couldn't be sent."""
        job = Job(self.task, b"", meta=self._meta)
        if isinstance(error, HearthError):
            return failed(job, error)
        return Done(Outcome(job, error=_unreadable(error.__cause__)), "")


class _AwaitedRequest(PendingRequest):
    """A request with a future for its outcome."""

    __slots__ = ("done",)

    def __init__(self, deadline: float, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(deadline)
        self.done: asyncio.Future[Done] = loop.create_future()

    def finish(self, result: Done | BaseException) -> None:
        """Set the future."""
        if self.done.done():
            return
        if isinstance(result, BaseException):
            self.done.set_exception(result)
        else:
            self.done.set_result(result)


def _unreadable(error: BaseException | None) -> Failure:
    if isinstance(error, OSError):
        return Failure("UNREADABLE", f"can't be read: {(error.strerror or str(error)).lower()}")
    if isinstance(error, TypeError | ValueError):
        return Failure("UNREADABLE", str(error))
    return Failure("UNREADABLE", f"can't be read: {error!r}")
