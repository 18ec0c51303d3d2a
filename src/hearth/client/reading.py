"""Sources read beside the loop, a few at a time, with a bound on what is held of them."""

import asyncio
import math
from functools import partial
from typing import Any

from hearth.aside import aside
from hearth.client.capabilities import TaskInfo
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

    async def take(self, source: Any, task: TaskInfo, deadline: float = math.inf) -> Payload:
        """The payload of a source; it counts until it is given back. Raises as ``read``."""
        async with self._turn:
            payload = await read(source, task, deadline=deadline)
            size = len(payload.content)
            while self.held and self.held + size > self._most:
                self._given_back.clear()
                await self._given_back.wait()
            self.held += size
        return payload

    def give_back(self, payload: Payload) -> None:
        """It isn't in use any more."""
        self.held -= len(payload.content)
        self._given_back.set()


async def read(
    source: Any, task: TaskInfo, mime: str = "", *, deadline: float = math.inf
) -> Payload:
    """The payload of a source; raises as ``load``, and DeadlinePassed.

    ``deadline`` is of the loop's clock. A file system may hang: not on the loop.
    """
    if isinstance(source, bytes) or (isinstance(source, str) and task.takes_text):
        return load(source, task, mime)
    if math.isinf(deadline):
        return await aside(partial(load, source, task, mime))
    limit = asyncio.timeout_at(deadline)
    try:
        async with limit:
            return await aside(partial(load, source, task, mime))
    except TimeoutError:
        if limit.expired():
            raise DeadlinePassed("it can't be read in time") from None
        raise
