"""Work that several ask for is done once, and its result is kept for a while.

One picture is often asked about in several ways (embed it, classify it), and by
several clients; its image tower needs to run once. The key says what is the same:
the payload's ``digest``, and whatever else the result depends on.
"""

import asyncio
import copy
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

from hearth.errors import HearthError, InvalidInput, ModelFailed

__all__ = ["SharedStatistics", "SharedWork", "digest"]

Value = TypeVar("Value")

_INLINE = 128 * 1024
"""Bytes that are hashed on the loop: 65 µs where the processor has SHA instructions, a few
hundred where it hasn't. A thread's hop costs the loop 30 to 40 µs, whatever the size."""


class SharedStatistics(NamedTuple):
    """Counts since the start; a call is a hit, or joined, or a miss."""

    hits: int
    """Answered from what was kept."""
    misses: int
    """Came first, and did the work."""
    joined: int
    """Waited for work that somebody else had begun."""
    entries: int
    """Values kept now."""
    capacity: int
    """Values kept at most; 0: off, and the counts stay at 0."""


class _Done(NamedTuple, Generic[Value]):
    value: Value


_Outcome = _Done[Value] | InvalidInput | ModelFailed | None
"""What a waiting caller is told; None: it is your turn to do the work."""


class SharedWork(Generic[Value]):
    """Joins identical work in flight, and keeps the values used last.

    ``capacity`` is how many values are kept; 0 turns all of it off. Callers share
    one value, so they must not change it; and an array that is a view keeps its whole
    base alive, so it is a copy that should be kept. For one loop at a time; the
    statistics may be read from any thread.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[Hashable, Value] = OrderedDict()
        # Those who wait for each work in flight, in the order in which they came.
        self._flying: dict[Hashable, list[asyncio.Future[_Outcome[Value]]]] = {}
        self._hits = self._misses = self._joined = 0

    async def get(
        self, key: Hashable, make: Callable[[], Awaitable[Value]], *, lane: Hashable = None
    ) -> Value:
        """The value of ``key``: kept, or being made by somebody, or made now by ``make``.

        Only callers of one ``lane`` wait for one another: who is in a hurry doesn't wait
        for who isn't.
        Raises what ``make`` raises. InvalidInput and ModelFailed are about the work
        itself, and everybody who waited for it gets an error of their own that says
        the same. Whatever else ends the one who works (a cancel, a deadline, a full
        queue) is that caller's own affair: the next who waits takes over. Errors are
        not kept.
        """
        if not self._capacity:
            return await make()
        if key in self._kept:
            self._hits += 1
            self._kept.move_to_end(key)
            return self._kept[key]
        flight = (key, lane)
        waiting = self._flying.get(flight)
        if waiting is None:
            self._misses += 1
            waiting = self._flying[flight] = []
        else:
            self._joined += 1
            done = await self._turn(flight, waiting)
            if done is not None:
                return done.value
        try:
            value = await make()
        except BaseException as error:
            self._failed(flight, waiting, error)
            raise
        if self._land(flight, waiting):
            self._keep(key, value)
        if waiting:
            _tell(waiting, _Done(value))
        return value

    def statistics(self) -> SharedStatistics:
        """Five numbers; each is right, taken together they may be a moment apart."""
        return SharedStatistics(
            self._hits, self._misses, self._joined, len(self._kept), self._capacity
        )

    def clear(self) -> None:
        """Forget all values; work in flight serves those who wait for it, and isn't kept."""
        self._kept.clear()
        self._flying.clear()

    async def _turn(
        self, key: Hashable, waiting: list[asyncio.Future[_Outcome[Value]]]
    ) -> _Done[Value] | None:
        """Wait for what becomes of the work; None: it is for the caller to do it."""
        future: asyncio.Future[_Outcome[Value]] = asyncio.get_running_loop().create_future()
        waiting.append(future)
        try:
            outcome = await future
        except BaseException:
            # Cancelled at the very moment when its turn had come: the turn passes on.
            if future.done() and not future.cancelled() and future.result() is None:
                self._pass_on(key, waiting)
            raise
        if isinstance(outcome, HearthError):
            # A copy, and in no variable: an error that is raised grows a traceback,
            # which holds this frame, which must not hold the error.
            raise copy.copy(outcome)
        return outcome

    def _failed(
        self,
        key: Hashable,
        waiting: list[asyncio.Future[_Outcome[Value]]],
        error: BaseException,
    ) -> None:
        if not isinstance(error, InvalidInput | ModelFailed):
            self._pass_on(key, waiting)
            return
        self._land(key, waiting)
        if waiting:
            # The copy has no traceback, so it keeps no frames and their payloads alive.
            _tell(waiting, copy.copy(error))

    def _pass_on(self, key: Hashable, waiting: list[asyncio.Future[_Outcome[Value]]]) -> None:
        """Wake the next who still waits, to do the work; the others go on waiting."""
        while waiting:
            future = waiting.pop(0)
            if not future.done():
                future.set_result(None)
                return
        self._land(key, waiting)

    def _land(self, key: Hashable, waiting: list[asyncio.Future[_Outcome[Value]]]) -> bool:
        """Take the work out of the air; whether it still was there, or cleared meanwhile."""
        if self._flying.get(key) is not waiting:
            return False
        del self._flying[key]
        return True

    def _keep(self, key: Hashable, value: Value) -> None:
        self._kept[key] = value
        if len(self._kept) > self._capacity:
            self._kept.popitem(last=False)


def _tell(waiting: list[asyncio.Future[_Outcome[Value]]], outcome: _Outcome[Value]) -> None:
    for future in waiting:
        if not future.done():
            future.set_result(outcome)


async def digest(payload: bytes) -> bytes:
    """The SHA-256 of a payload, 32 bytes; a large one is hashed outside the loop."""
    if len(payload) <= _INLINE:
        return hashlib.sha256(payload).digest()
    return await asyncio.get_running_loop().run_in_executor(None, _sha256, payload)


def _sha256(payload: bytes) -> bytes:
    return hashlib.sha256(payload).digest()
