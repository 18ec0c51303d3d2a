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
from typing import Any, Generic, NamedTuple, TypeVar

from hearth.batching.limit import Limit, as_limit
from hearth.errors import HearthError, InvalidInput, ModelFailed
from hearth.media import FilePage, ImagePayload, Picture

Value = TypeVar("Value")
Handle = Any
"""Handle by which callers find one another's work where it waits."""

_INLINE = 128 * 1024
"""Bytes that are hashed on the loop: 65 µs where the processor has SHA instructions, a few
hundred where it hasn't. A thread's hop costs the loop 30 to 40 µs, whatever the size."""


class SharedStatistics(NamedTuple):
    """Counts since the start; a call is a hit, or joined, or a miss."""

    hits: int
    """Calls answered from what was kept."""
    misses: int
    """Calls that came first, and did the work."""
    joined: int
    """Calls that waited for work that somebody else had begun."""
    entries: int
    """Weight of the values that are kept now; where nothing else is said, 1 each."""
    capacity: int
    """Weight that they may have at most; 0: off, and the counts stay at 0."""


class _Done(NamedTuple, Generic[Value]):
    value: Value


_Outcome = _Done[Value] | InvalidInput | ModelFailed | None
"""Outcome for a caller who waits; None: it is their turn to do the work."""


class _Flight(Generic[Value]):
    """Work that is being done."""

    __slots__ = ("handle", "waiting")

    def __init__(self, handle: object) -> None:
        self.handle = handle
        """Handle of whoever does the work."""
        self.waiting: list[asyncio.Future[_Outcome[Value]]] = []
        """Callers who wait for it, in the order in which they came."""


class SingleFlightCache(Generic[Value]):
    """Joins identical work in flight, and keeps the values used last.

    ``capacity`` is how many values are kept, or, where ``weigh`` says what each comes to
    (1 or more, the same each time), what they may come to together; 0 turns all of it
    off. Callers share one value, so they must not change it; and an array that is a view
    keeps its whole base alive, so it is a copy that should be kept. For one loop at a
    time; the statistics may be read from any thread.
    """

    def __init__(self, capacity: int | Limit, weigh: Callable[[Value], int] = lambda _: 1) -> None:
        self._capacity = as_limit(capacity)
        self._weigh = weigh
        self._weight = 0
        self._kept: OrderedDict[Hashable, Value] = OrderedDict()
        self._flying: dict[Hashable, _Flight[Value]] = {}
        self._hits = self._misses = self._joined = 0

    async def get(
        self,
        key: Hashable,
        make: Callable[[], Awaitable[Value]],
        *,
        handle: Handle | None = None,
        inherit_priority: Callable[[Handle], None] = lambda _: None,
    ) -> Value:
        """Return the value of ``key``: cached, or being made by somebody, or made by ``make``.

        Who comes to work in flight calls ``inherit_priority`` with the ``handle`` of whoever
        does it: to wait for a stranger's turn must take no longer than one's own turn would.
        Raises what ``make`` raises. InvalidInput and ModelFailed are about the work
        itself, and everybody who waited for it gets an error of their own that says
        the same. Whatever else ends the one who works (a cancel, a deadline, a full
        queue) is that caller's own affair: the next who waits takes over. Errors are
        not kept.
        """
        if not self._capacity.value:
            self._kept.clear()
            self._weight = 0
            return await make()
        if key in self._kept:
            self._hits += 1
            self._kept.move_to_end(key)
            return self._kept[key]
        flight = self._flying.get(key)
        if flight is None:
            self._misses += 1
            flight = self._flying[key] = _Flight(handle)
        else:
            self._joined += 1
            inherit_priority(flight.handle)
            done = await self._turn(key, flight)
            if done is not None:
                return done.value
            flight.handle = handle
        try:
            value = await make()
        except BaseException as error:
            self._failed(key, flight, error)
            raise
        del self._flying[key]
        weight, capacity = self._weigh(value), self._capacity.value
        if weight <= capacity:  # else it would only drive everything else out
            self._kept[key] = value
            self._weight += weight
            while self._weight > capacity:
                _, oldest = self._kept.popitem(last=False)
                self._weight -= self._weigh(oldest)
        if flight.waiting:
            _tell(flight.waiting, _Done(value))
        return value

    def statistics(self) -> SharedStatistics:
        """Return five numbers; each is right, taken together they may be a moment apart."""
        return SharedStatistics(
            self._hits, self._misses, self._joined, self._weight, self._capacity.value
        )

    async def _turn(self, key: Hashable, flight: _Flight[Value]) -> _Done[Value] | None:
        """Wait for what becomes of the work; None: it is for the caller to do it."""
        future: asyncio.Future[_Outcome[Value]] = asyncio.get_running_loop().create_future()
        flight.waiting.append(future)
        try:
            outcome = await future
        except BaseException:
            # Cancelled at the very moment when its turn had come: the turn passes on.
            if future.done() and not future.cancelled() and future.result() is None:
                self._pass_on(key, flight)
            raise
        if isinstance(outcome, HearthError):
            # A copy, and in no variable: an error that is raised grows a traceback,
            # which holds this frame, which must not hold the error.
            raise copy.copy(outcome)
        return outcome

    def _failed(self, key: Hashable, flight: _Flight[Value], error: BaseException) -> None:
        if not isinstance(error, InvalidInput | ModelFailed):
            self._pass_on(key, flight)
            return
        del self._flying[key]
        if flight.waiting:
            # The copy has no traceback, so it keeps no frames and their payloads alive.
            _tell(flight.waiting, copy.copy(error))

    def _pass_on(self, key: Hashable, flight: _Flight[Value]) -> None:
        """Wake the next who still waits, to do the work; the others go on waiting."""
        while flight.waiting:
            future = flight.waiting.pop(0)
            if not future.done():
                future.set_result(None)
                return
        del self._flying[key]


def _tell(waiting: list[asyncio.Future[_Outcome[Value]]], outcome: _Outcome[Value]) -> None:
    for future in waiting:
        if not future.done():
            future.set_result(outcome)


async def digest(payload: bytes) -> bytes:
    """Return the SHA-256 of a payload, 32 bytes; a large one is hashed outside the loop."""
    if len(payload) <= _INLINE:
        return hashlib.sha256(payload).digest()
    return await asyncio.get_running_loop().run_in_executor(None, _sha256, payload)


async def key_of(file: ImagePayload) -> Hashable:
    """Return what tells a picture from others: its bytes, how they are read, and which page."""
    if isinstance(file, bytes) and len(file) <= _INLINE:
        return hashlib.sha256(file).digest()
    form = None
    if isinstance(file, Picture):
        form, file = file.form, file.file
    if isinstance(file, FilePage):
        return (await digest(file.payload), file.page)
    sha = await digest(file)
    return sha if form is None else (sha, form)


def _sha256(payload: bytes) -> bytes:
    return hashlib.sha256(payload).digest()
