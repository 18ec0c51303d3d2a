"""The sources of one map, each asked for by itself."""

import asyncio
import math
from collections.abc import Mapping
from typing import Any

from hearth.catalog import TaskInfo
from hearth.client.affinity import ModelAffinity
from hearth.client.answer import Answer
from hearth.client.messages import Failure, Job, Outcome
from hearth.client.pool import NodePool
from hearth.client.reading import Reading, Unreadable
from hearth.client.retry import Done, failed, perform
from hearth.errors import DeadlinePassed, HearthError

PATIENT = 300.0
"""Seconds: whoever waits so long need not tell the nodes."""


class Asking:
    """Reads a source and has it done, by nodes that ``affinity`` allows.

    ``timeout`` is in seconds for each source, ``within`` for all from the first one on.
    """

    def __init__(
        self,
        pool: NodePool,
        task: str,
        meta: Mapping[str, str],
        affinity: ModelAffinity | None,
        reading: Reading,
        *,
        timeout: float,
        within: float = math.inf,
    ) -> None:
        self.affinity = affinity
        self._pool = pool
        self._task = task
        self._meta = meta
        self._timeout = timeout
        self._within = within
        self._until: float | None = None
        self._tell = math.isfinite(within) or timeout < PATIENT
        self._reading = reading
        self._info: TaskInfo | None = None

    async def ask(self, index: int, source: Any) -> Answer:
        """What becomes of a source, its failures too."""
        now = asyncio.get_running_loop().time()
        if self._until is None:
            self._until = now + self._within
        try:
            if now >= self._until:
                raise DeadlinePassed("no answer in time")
            done = await self.done(source, min(now + self._timeout, self._until))
        except HearthError as error:
            done = failed(Job(self._task, b"", meta=self._meta), error)
        except Unreadable as error:
            job = Job(self._task, b"", meta=self._meta)
            done = Done(Outcome(job, error=_unreadable(error.__cause__)), "")
        return Answer(source, index, done.node, done.outcome)

    async def done(self, source: Any, deadline: float, mime: str = "") -> Done:
        """The same by ``deadline``, of the loop's clock; raises HearthError, Unreadable."""
        if self._info is None:
            self._info = await self._pool.info(self._task, deadline, self.affinity)
        payload = await self._reading.take(source, self._info, mime, deadline=deadline)
        try:
            job = Job(self._task, payload.content, payload.mime, self._meta)
            return await perform(self._pool, job, deadline, self.affinity, tell=self._tell)
        finally:
            self._reading.give_back(payload)


def _unreadable(error: BaseException | None) -> Failure:
    if isinstance(error, OSError):
        return Failure("UNREADABLE", f"can't be read: {(error.strerror or str(error)).lower()}")
    if isinstance(error, TypeError | ValueError):
        return Failure("UNREADABLE", str(error))
    return Failure("UNREADABLE", f"can't be read: {error!r}")
