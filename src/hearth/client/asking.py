"""The sources of one map, each asked for by itself."""

import asyncio
import math
from collections.abc import Mapping
from typing import Any

from hearth.client.answer import Answer
from hearth.client.capabilities import TaskInfo
from hearth.client.dispatch import Done, failed, perform
from hearth.client.fleet import Fleet
from hearth.client.messages import Failure, Job, Outcome
from hearth.client.pin import Pin
from hearth.client.reading import Reading
from hearth.errors import DeadlinePassed, HearthError

PATIENT = 300.0
"""Seconds: whoever waits so long need not tell the nodes."""


class Asking:
    """Reads a source and has it done, by nodes of one model.

    ``timeout`` is in seconds for each source, ``until`` a time of the loop's clock for all.
    """

    def __init__(
        self,
        fleet: Fleet,
        task: str,
        meta: Mapping[str, str],
        pin: Pin,
        *,
        timeout: float,
        until: float,
    ) -> None:
        self.pin = pin
        self._fleet = fleet
        self._task = task
        self._meta = meta
        self._job = Job(task, b"", meta=meta)
        self._timeout = timeout
        self._until = until
        self._tell = math.isfinite(until) or timeout < PATIENT
        self._reading = Reading()
        self._info: TaskInfo | None = None
        self._loop = asyncio.get_running_loop()

    async def ask(self, index: int, source: Any) -> Answer:
        """What becomes of a source, its failures too."""
        now = self._loop.time()
        try:
            if now >= self._until:
                raise DeadlinePassed("no answer in time")
            done = await self._done(source, min(now + self._timeout, self._until))
        except HearthError as error:
            done = failed(self._job, error)
        except (OSError, TypeError, ValueError) as error:
            done = Done(Outcome(self._job, error=_unreadable(error)), "")
        return Answer(source, index, done.node, done.outcome)

    async def _done(self, source: Any, deadline: float) -> Done:
        if self._info is None:
            self._info = await self._fleet.info(self._task, deadline, self.pin)
        payload = await self._reading.take(source, self._info, deadline)
        try:
            job = Job(self._task, payload.content, payload.mime, self._meta)
            outcome, node = await perform(self._fleet, job, deadline, self.pin, tell=self._tell)
        finally:
            self._reading.give_back(payload)
        # The answer is kept for longer than the payload is.
        return Done(outcome.of(self._job), node)


def _unreadable(error: Exception) -> Failure:
    if isinstance(error, OSError):
        return Failure("UNREADABLE", f"can't be read: {(error.strerror or str(error)).lower()}")
    return Failure("UNREADABLE", str(error))
