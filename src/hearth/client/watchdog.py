"""How long a node may be silent while requests are open there."""

import asyncio
from collections.abc import Callable

STALL_SECONDS = 2.0
"""Watchdog after which a node is asked whether it lives."""
HANG_SECONDS = 30.0
"""Watchdog after which requests are taken from a node that does say that it lives."""
MANY_TIMES = 10
"""…or so many times its slowest answer of late, if that is longer; twice as long each time."""
FADING = 0.99
"""What is left of the slowest answer with each other one."""


class Watchdog:
    """Looks at one node every STALL_SECONDS for as long as requests are open; else never.

    ``heard`` is when it sent anything last (of the loop's clock; None: there is nothing to
    hear), ``ask`` asks whether it lives, ``give_up`` takes its requests away after so many
    seconds, and says whether it did: there may be nobody else to do them. ``look_after`` is
    told how long a single request may wait at most.
    """

    def __init__(
        self,
        heard: Callable[[], float | None],
        ask: Callable[[], None],
        give_up: Callable[[float], bool],
        look_after: Callable[[float], None],
    ) -> None:
        self._heard = heard
        self._ask = ask
        self._give_up = give_up
        self._look_after = look_after
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._is_open = False
        self._since = 0.0
        self._slowest = 0.0
        self._patience = 1

    @property
    def longest(self) -> float:
        """Seconds after which it is given up."""
        return max(HANG_SECONDS, MANY_TIMES * self._slowest) * self._patience

    def begin(self) -> None:
        """A request is open, where none was."""
        self._is_open = True
        heard = self._heard()
        if heard is None or heard >= self._since:
            # Else those before have no answer either: it is silent for longer.
            self._since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(STALL_SECONDS, self._look)

    def end(self) -> None:
        """No request is open any more."""
        self._is_open = False

    def answered(self, took: float) -> None:
        """An answer came, after so many seconds."""
        # A model that had to be loaded for it is forgotten in some hundred answers.
        self._slowest = max(took, FADING * self._slowest)
        self._patience = 1

    def be_patient(self) -> None:
        """It may be no more than slow: it gets more time from now on."""
        self._patience *= 2

    def is_recent(self) -> bool:
        """Whether the node has been heard within STALL_SECONDS."""
        heard = self._heard()
        return heard is not None and self._loop.time() - heard < STALL_SECONDS

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        if not self._is_open:
            return
        self._timer = self._loop.call_later(STALL_SECONDS, self._look)
        heard = self._heard()
        if heard is None:
            return
        self._look_after(self.longest)
        seconds = self._loop.time() - max(heard, self._since)
        if seconds < STALL_SECONDS:
            return
        self._ask()
        if seconds > self.longest and self._give_up(seconds):
            self.be_patient()
