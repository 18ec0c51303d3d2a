"""Keeps what is known of one node fresh: whether it answers, and what it can do."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from hearth.client.capabilities import Capabilities
from hearth.client.connection import Connection
from hearth.client.node import State
from hearth.errors import HearthError, NotReady, one_line

REFRESH_SECONDS = 10.0
"""After which an answer is old: models come and fail without a word on mDNS."""
LOADING_SECONDS = 0.5
"""Until a node is asked again that is about to be able to do more."""
FIRST_RETRY, LONGEST_RETRY = 0.25, 5.0
"""Seconds until a node is asked again that didn't answer; doubles."""


class HealthCheck:
    """Asks one node for its capabilities, again and again, until it is closed.

    It is asked at the first of its addresses (``targets``, ``HOST:PORT``), and after each
    failure at the next. ``changed`` is called after each answer or failure. ``alive`` says
    whether the node has been heard otherwise: a question that isn't answered in time then
    proves nothing.
    """

    def __init__(
        self, targets: Sequence[str], changed: Callable[[], None], alive: Callable[[], bool]
    ) -> None:
        self.targets = targets
        self.target = targets[0]
        """Where it is asked now."""
        self.state: State = "new"
        self.capabilities = Capabilities(())
        """As last told; nothing before that."""
        self.trouble = ""
        """One line: why the node isn't up."""
        self.connection = Connection(self.target)
        """To be used while the node is up: it is another one after a failure."""
        self._changed = changed
        self._alive = alive
        self._retry = FIRST_RETRY
        self._asked = asyncio.Event()
        self._task = asyncio.create_task(self._keep())

    def ask_now(self) -> None:
        """Something has happened: don't wait for the time of the next question."""
        self._asked.set()

    def doubt(self, why: str) -> None:
        """The node may be gone: it counts as down until it answers."""
        if self.state == "up":
            self.state, self.trouble = "down", why
        self._retry = FIRST_RETRY
        self.ask_now()

    async def close(self) -> None:
        """Ask no more, and close the connection."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.connection.close()

    async def _keep(self) -> None:
        while True:
            self._asked.clear()
            await self._ask()
            try:
                self._changed()
            except Exception as error:  # of what it says of itself, which may be anything
                self.state, self.trouble = "down", f"{self.target}: {one_line(error)}"
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._asked.wait()

    async def _ask(self) -> None:
        try:
            self.capabilities = await self.connection.capabilities()
        except NotReady as error:
            self.state, self.trouble = "loading", str(error)
        except Exception as error:  # what gRPC can't read may raise anything
            if self.state == "up" and self._alive():
                return
            known = isinstance(error, HearthError)
            self.trouble = str(error) if known else f"{self.target}: its answer can't be read"
            self.state = "down"
            await self._begin_anew()
        else:
            self.state, self.trouble = "up", ""
            self._retry = FIRST_RETRY

    async def _begin_anew(self) -> None:
        """With a new connection, which doesn't wait until an old one thinks it is time."""
        at = self.targets.index(self.target) + 1 if self.target in self.targets else 0
        self.target = self.targets[at % len(self.targets)]
        old, self.connection = self.connection, Connection(self.target)
        await old.close()

    def _pause(self) -> float:
        if self.state == "up":
            return LOADING_SECONDS if self.capabilities.changing else REFRESH_SECONDS
        if self.state == "loading":
            return LOADING_SECONDS
        pause, self._retry = self._retry, min(2 * self._retry, LONGEST_RETRY)
        return pause
