"""Sources read beside the loop, a few at a time, with a bound on what is held of them."""

import asyncio
from functools import partial
from typing import Any

from hearth.blocking import run_blocking
from hearth.catalog import TaskInfo
from hearth.client.sources import Payload, load
from hearth.errors import DeadlinePassed

READERS = 4
"""Files that are read at once: enough to hide the latency of a network's file system."""
MOST_BYTES = 128 << 20
"""Of payloads that were read and have no answer yet; one may be larger."""


class Reading:
    """Reads payloads; ``held`` bytes of them are in use."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._turn = asyncio.Semaphore(READERS)
        self._given_back = asyncio.Event()
        self.held = 0

    async def take(
        self, source: Any, task: TaskInfo, mime: str = "", *, deadline: float
    ) -> Payload:
        """The payload of a source; it counts until it is given back.

        ``deadline`` is of the loop's clock. Raises DeadlinePassed, and Unreadable.
        """
        if isinstance(source, bytes) or (isinstance(source, str) and task.takes_text):
            payload = _loaded(source, task, mime)
            if self._fits(payload):
                return self._hold(payload)
        limit = asyncio.timeout_at(deadline)
        try:
            async with limit, self._turn:
                # A file system may hang: not on the loop.
                payload = await run_blocking(partial(_loaded, source, task, mime))
                while not self._fits(payload):
                    self._given_back.clear()
                    await self._given_back.wait()
                return self._hold(payload)
        except TimeoutError:
            if limit.expired():
                raise DeadlinePassed("no time was left to read it") from None
            raise

    def give_back(self, payload: Payload) -> None:
        """It isn't in use any more."""
        self.held -= len(payload.content)
        self._given_back.set()

    def _fits(self, payload: Payload) -> bool:
        return not self.held or self.held + len(payload.content) <= self._most

    def _hold(self, payload: Payload) -> Payload:
        self.held += len(payload.content)
        return payload


class Unreadable(Exception):
    """A source can't be read; the cause is what ``load`` raised."""


def _loaded(source: Any, task: TaskInfo, mime: str) -> Payload:
    try:
        return load(source, task, mime)
    except Exception as error:  # a source may be anybody's class
        raise Unreadable from error
