"""One timer for the deadlines of many."""

import asyncio
import math
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

STOOD_STILL_SECONDS = 0.2
"""A timer that comes so late says nothing of what was waited for."""


class Due(Protocol):
    """Work with a deadline."""

    deadline: float
    """Time, of the loop's clock; may be infinite."""


T = TypeVar("T", bound=Due)


class Deadlines(Generic[T]):
    """Calls ``expire`` with those of ``waiting`` whose deadline has passed.

    A timer for each of them would cost more than all else that is kept of a request.
    """

    def __init__(
        self, waiting: Callable[[], Iterable[T]], expire: Callable[[list[T]], None]
    ) -> None:
        self._waiting = waiting
        self._expire = expire
        self._timer: asyncio.TimerHandle | None = None
        self._at = math.inf

    def add(self, deadline: float) -> None:
        """See to it that what has this deadline isn't forgotten."""
        if deadline < self._at:
            self._set(deadline)

    def close(self) -> None:
        """Forget all of them."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._at = None, math.inf

    def _set(self, at: float) -> None:
        self.close()
        self._at = at
        self._timer = asyncio.get_running_loop().call_at(at, self._look)

    def _look(self) -> None:
        now, at = asyncio.get_running_loop().time(), self._at
        self._timer, self._at = None, math.inf
        if now - at > STOOD_STILL_SECONDS:
            # The loop stood still: what has come meanwhile is read first.
            self._set(now + STOOD_STILL_SECONDS)
            return
        self._expire([each for each in self._waiting() if each.deadline <= now])
        self.add(min((each.deadline for each in self._waiting()), default=math.inf))
