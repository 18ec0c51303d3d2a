"""Health of a node: asked for again and again, and watched while requests are open there."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from hearth.client.capabilities import Capabilities, State
from hearth.client.connection import Connection
from hearth.client.limits import ClientLimits
from hearth.errors import HearthError, NotReady, one_line

LOADING_SECONDS = 0.5
"""Time until a node is asked again that is about to be able to do more."""
FIRST_RETRY, LONGEST_RETRY = 0.25, 5.0
"""Seconds until a node is asked again that didn't answer; doubles."""
MANY_TIMES = 10
"""Multiple of a node's slowest answer of late after which it is given up, where that is longer
than ``hang_seconds``; twice as long each time."""
FADING = 0.99
"""Share of the slowest answer that is left with each other one."""


class HealthCheck:
    """Asks one node for its capabilities, again and again, until it is closed.

    It is asked at the first of its addresses (``targets``, ``HOST:PORT``), and after each
    failure at the next. ``changed`` is called after each answer or failure. ``alive`` says
    whether the node has been heard otherwise: a question that isn't answered in time then
    proves nothing.
    """

    def __init__(
        self,
        targets: Sequence[str],
        changed: Callable[[], None],
        alive: Callable[[], bool],
        limits: ClientLimits,
    ) -> None:
        self.targets = targets
        self.target = targets[0]
        """Address at which it is asked now."""
        self.state: State = "new"
        self.capabilities = Capabilities(())
        """Services and tasks, as last told; nothing before that."""
        self.trouble = ""
        """Reason, in one line, why the node isn't up."""
        self.connection = Connection(self.target)
        """Connection to use while the node is up: it is another one after a failure."""
        self._changed = changed
        self._alive = alive
        self._limits = limits
        self._retry = FIRST_RETRY
        self._asked = asyncio.Event()
        self._task = asyncio.create_task(self._check_for_ever())

    def check_now(self) -> None:
        """Ask at once: something has happened."""
        self._asked.set()

    def doubt(self, why: str) -> None:
        """Count the node as down until it answers: it may be gone."""
        if self.state == "up":
            self.state, self.trouble = "down", why
        self._retry = FIRST_RETRY
        self.check_now()

    async def close(self) -> None:
        """Ask no more, and close the connection."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.connection.close()

    async def _check_for_ever(self) -> None:
        while True:
            self._asked.clear()
            await self._check()
            try:
                self._changed()
            except Exception as error:  # of what it says of itself, which may be anything
                self.state, self.trouble = "down", f"{self.target}: {one_line(error)}"
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._asked.wait()

    async def _check(self) -> None:
        try:
            seconds = self._limits.capabilities_seconds
            self.capabilities = await self.connection.capabilities(timeout=seconds)
        except NotReady as error:
            self.state, self.trouble = "loading", str(error)
        except Exception as error:  # what gRPC can't read may raise anything
            if self.state == "up" and self._alive():
                return
            known = isinstance(error, HearthError)
            self.trouble = str(error) if known else f"{self.target}: its answer can't be read"
            self.state = "down"
            await self._connect_anew()
        else:
            self.state, self.trouble = "up", ""
            self._retry = FIRST_RETRY

    async def _connect_anew(self) -> None:
        """Open a new connection, which doesn't wait until an old one thinks it is time."""
        at = self.targets.index(self.target) + 1 if self.target in self.targets else 0
        self.target = self.targets[at % len(self.targets)]
        old, self.connection = self.connection, Connection(self.target)
        await old.close()

    def _pause(self) -> float:
        if self.state == "up":
            changing = self.capabilities.changing
            return LOADING_SECONDS if changing else self._limits.refresh_seconds
        if self.state == "loading":
            return LOADING_SECONDS
        pause, self._retry = self._retry, min(2 * self._retry, LONGEST_RETRY)
        return pause


class Watchdog:
    """Looks at one node every ``stall_seconds`` for as long as requests are open; else never.

    ``heard`` is the loop time at which it sent anything last (None: there is nothing to hear),
    ``check`` asks whether it lives, ``give_up`` takes its requests away after so many seconds,
    and says whether it did: there may be nobody else to do them. ``give_up_late`` is told how
    long a single request may wait at most.
    """

    def __init__(
        self,
        heard: Callable[[], float | None],
        check: Callable[[], None],
        give_up: Callable[[float], bool],
        give_up_late: Callable[[float], None],
        limits: ClientLimits,
    ) -> None:
        self._heard = heard
        self._check = check
        self._give_up = give_up
        self._give_up_late = give_up_late
        self._stall_seconds = limits.stall_seconds
        self._hang_seconds = limits.hang_seconds
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._is_open = False
        self._since = 0.0
        self._slowest = 0.0
        self._patience = 1

    @property
    def longest(self) -> float:
        """Seconds of silence after which the node is given up."""
        return max(self._hang_seconds, MANY_TIMES * self._slowest) * self._patience

    def begin(self) -> None:
        """Watch from now on: a request is open, where none was."""
        self._is_open = True
        heard = self._heard()
        if heard is None or heard >= self._since:
            # Else those before have no answer either: it is silent for longer.
            self._since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self._stall_seconds, self._look)

    def end(self) -> None:
        """Watch no more: no request is open."""
        self._is_open = False

    def add_answer(self, seconds: float) -> None:
        """Take in an answer that came after so many seconds."""
        # A model that had to be loaded for it is forgotten in some hundred answers.
        faded = FADING * self._slowest
        self._slowest = seconds if seconds > faded else faded
        self._patience = 1

    def be_patient(self) -> None:
        """Give the node more time from now on: it may be no more than slow."""
        self._patience *= 2

    def is_recent(self) -> bool:
        """Tell whether the node has been heard within ``stall_seconds``."""
        heard = self._heard()
        return heard is not None and self._loop.time() - heard < self._stall_seconds

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        if not self._is_open:
            return
        self._timer = self._loop.call_later(self._stall_seconds, self._look)
        heard = self._heard()
        if heard is None:
            return
        self._give_up_late(self.longest)
        seconds = self._loop.time() - max(heard, self._since)
        if seconds < self._stall_seconds:
            return
        self._check()
        if seconds > self.longest and self._give_up(seconds):
            self.be_patient()
