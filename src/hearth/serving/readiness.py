"""The one rule on waiting for models that load: for requests and capabilities alike."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from hearth.errors import NotReady
from hearth.serving.managed_model import ManagedModel

WAIT_SECONDS = 8.0
"""Clients of the field give a question for capabilities 10 s, and the older ones ask once for
each connection; one of them leaves a node for good at its first UNAVAILABLE."""


SHUTTING_DOWN = "this node is shutting down"


class Changes:
    """Wakes those who wait for a condition, whenever it may have come true."""

    def __init__(self) -> None:
        # In their order: who waits for longer goes first.
        self._waiters: dict[asyncio.Future[None], None] = {}

    def notify(self) -> None:
        """Have every condition looked at again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return when the condition holds; it is looked at now, and after each ``notify``."""
        while not condition():
            waiter = asyncio.get_running_loop().create_future()
            self._waiters[waiter] = None
            try:
                await waiter
            finally:
                del self._waiters[waiter]


class Readiness:
    """Waits for models whose files are here and that aren't loaded yet.

    What must be downloaded first, or has failed, is waited for by nobody. ``changes`` are those
    of the ``models``, which are by service. Waits that reach their end return like the others:
    whoever waits looks at what is there.
    """

    def __init__(
        self,
        models: Mapping[str, ManagedModel],
        changes: Changes,
        *,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._models = models
        self._changes = changes
        self._wait_seconds = wait_seconds
        self._ended = False

    @property
    def is_startup_done(self) -> bool:
        """Whether every model whose files were here at the start is loaded, or has failed."""
        return all(managed.startup_done for managed in self._models.values())

    def give_up_at(self) -> float:
        """Tell until when somebody waits who comes now, on the clock of ``time.monotonic()``."""
        return time.monotonic() + self._wait_seconds

    async def wait_for_all(self, services: Iterable[str], until: float | None = None) -> None:
        """Wait until all of these models are loaded, or one of them is not about to be.

        Raises NotReady where the node goes down before they are.
        """
        models = [self._models[service] for service in services]

        def decided() -> bool:
            missing = [managed for managed in models if managed.model is None]
            return not missing or not all(managed.is_loading for managed in missing)

        await self._wait(decided, until)
        if self._ended and any(managed.model is None for managed in models):
            raise NotReady(SHUTTING_DOWN)

    async def wait_for_any(self, services: Iterable[str], until: float | None = None) -> None:
        """Wait until one of these models is loaded, or none of them is about to be."""
        models = [self._models[service] for service in services]

        def decided() -> bool:
            loaded = any(managed.model is not None for managed in models)
            return loaded or not any(managed.is_loading for managed in models)

        await self._wait(decided, until)

    async def wait_for_startup(self, until: float | None = None) -> None:
        """Wait until every model whose files were here at the start is loaded, or has failed."""
        await self._wait(lambda: self.is_startup_done, until)

    def end(self) -> None:
        """Let nobody wait any longer: the node is going down."""
        self._ended = True
        self._changes.notify()

    async def _wait(self, condition: Callable[[], bool], until: float | None) -> None:
        until = self.give_up_at() if until is None else min(until, self.give_up_at())
        with suppress(TimeoutError):
            async with asyncio.timeout(until - time.monotonic()):
                await self._changes.wait_until(lambda: self._ended or condition())
