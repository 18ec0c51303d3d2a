"""The sources of one map, each asked for by itself."""

import asyncio
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
        self._timeout = timeout
        self._until = until
        self._reading = Reading()
        self._info: TaskInfo | None = None
        self._loop = asyncio.get_running_loop()

    async def ask(self, index: int, source: Any) -> Answer:
        """What becomes of a source, its failures too."""
        deadline = min(self._loop.time() + self._timeout, self._until)
        try:
            done = await self._done(source, deadline)
        except HearthError as error:
            done = failed(Job(self._task, b""), error)
        except (OSError, TypeError, ValueError) as error:
            outcome = Outcome(Job(self._task, b""), error=_unreadable(error))
            done = Done(outcome, "")
        return Answer(source, index, done.node, done.outcome)

    async def _done(self, source: Any, deadline: float) -> Done:
        if self._loop.time() >= self._until:
            raise DeadlinePassed("no answer in time")
        if self._info is None:
            self._info = await self._fleet.info(self._task, deadline, self.pin)
        async with self._reading.payload(source, self._info) as (content, mime):
            job = Job(self._task, content, mime, self._meta)
            done = await perform(self._fleet, job, deadline, self.pin, tell=True)
        # The answer is kept for longer than the payload is.
        return done._replace(outcome=done.outcome.without_payload())


def _unreadable(error: Exception) -> Failure:
    if isinstance(error, OSError):
        return Failure("UNREADABLE", f"can't be read: {(error.strerror or str(error)).lower()}")
    return Failure("UNREADABLE", str(error))
