"""Live streams under way, such as videos: what is followed from one request to the next.

Each item of a stream (a frame, a second of sound) is a request of its own; what it goes on from is
kept for one stream of one client.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

Before = TypeVar("Before")

MOST_STREAMS = 64
"""Streams that one client may have under way in one call; the one used longest ago is forgotten."""


class StreamState(Generic[Before]):
    """State of one stream, whose items are done one by one, in the order in which they came."""

    def __init__(self) -> None:
        self.before: Before | None = None
        """State that the last item that went well has left for the next one; None: nothing yet.
        Only to be touched in an item's turn."""
        self._shape: Hashable = None
        self._moment: float | None = None
        self._busy = False
        self._waiting: deque[tuple[asyncio.Future[bool], bool]] = deque()

    @asynccontextmanager
    async def turn(self, *, drop: bool) -> AsyncIterator[bool]:
        """Wait for an item's turn; False: a newer one came meanwhile, so it is dropped.

        Only items with ``drop`` are dropped, and only while they wait.
        """
        if drop:
            self._drop()
        if self._busy:
            future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            self._waiting.append((future, drop))
            try:
                has_turn = await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled() and future.result():
                    self._next()
                raise
            if not has_turn:
                yield False
                return
        self._busy = True
        try:
            yield True
        finally:
            self._next()

    def begin(self, moment: float, shape: Hashable) -> Before | None:
        """Give what an item of this ``moment`` (seconds) is to go on from; only in its turn.

        Nothing where the time goes back, or where items have another ``shape`` than before: the
        size of a frame, the sample rate of sound.
        """
        if self._moment is not None and (moment <= self._moment or shape != self._shape):
            self.before = None
        self._moment, self._shape = moment, shape
        return self.before

    def _drop(self) -> None:
        staying = [(future, drop) for future, drop in self._waiting if not drop]
        for future, drop in self._waiting:
            if drop and not future.done():
                future.set_result(False)
        self._waiting = deque(staying)

    def _next(self) -> None:
        """Hand the turn to the first that still waits."""
        while self._waiting:
            future, _ = self._waiting.popleft()
            if not future.done():
                future.set_result(True)
                return
        self._busy = False


class StreamStates:
    """State of the live streams of all clients; those of a client go with it.

    A client is whatever ``Request.source`` says, which must take weak references; where it says
    nothing, whoever asks is one and the same.
    """

    def __init__(self) -> None:
        self._by_client: WeakKeyDictionary[Any, OrderedDict[Hashable, StreamState[Any]]] = (
            WeakKeyDictionary()
        )

    def of(self, source: Any, key: Hashable) -> StreamState[Any]:
        """Give the state of a client's stream by its key; a new one where there is none."""
        states = self._by_client.setdefault(self if source is None else source, OrderedDict())
        if key not in states:
            states[key] = StreamState()
            while len(states) > MOST_STREAMS:
                states.popitem(last=False)
        states.move_to_end(key)
        return states[key]

    def __len__(self) -> int:
        return sum(len(states) for states in self._by_client.values())
