"""The rate at which the node serves: it tells the refused when it is worth coming back."""

import time
from collections.abc import Callable

SHORTEST, LONGEST = 0.05, 30.0
"""Seconds that anybody is told to wait."""


class ServiceRate:
    """The rate at which requests are served while there are any, measured in rounds.

    A round is over when as many were served as were in flight when it began. So it is made
    of whole batches, however large and slow they are, and the clock is read once a round.
    """

    __slots__ = ("_began", "_clock", "_rate", "_size", "left")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = 0.0
        self._size = self.left = 1
        """Requests that make the present round, and how many of them are still to be served.

        Who serves one counts ``left`` down, and calls ``over`` at 0: a call less for each
        request. The refused don't count, or a full node would seem a fast one.
        """
        self._rate: float | None = None
        """Requests a second, lately."""

    def begin(self, in_flight: int) -> None:
        """Begin the first round, or the first after a rest."""
        self._began = self._clock()
        self._size = self.left = max(1, in_flight)

    def over(self, in_flight: int) -> None:
        """End the round, and begin the next one."""
        now = self._clock()
        rate = self._size / max(now - self._began, 1e-6)
        # Not the mean of times: one long round would be remembered for long.
        self._rate = rate if self._rate is None else (self._rate + rate) / 2
        self._began = now
        self._size = self.left = max(1, in_flight)

    def retry_after(self, in_flight: int) -> float:
        """Guess the seconds until half of what is in flight is served.

        However fast earlier rounds were: at least as the present one goes.
        """
        present = (self._clock() - self._began) * min(1.0, in_flight / self._size)
        usual = 0.0 if self._rate is None else in_flight / self._rate
        return min(max(usual / 2, present / 2, SHORTEST), LONGEST)
