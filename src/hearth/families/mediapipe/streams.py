"""Videos under way: what is followed from frame to frame, for one stream of one client."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

Before = TypeVar("Before")

MOST_STREAMS = 64
"""Videos that one client may have under way in one call; the one used longest ago is forgotten."""


class Video(Generic[Before]):
    """The frames of one video, done one after another in the order in which they came."""

    def __init__(self) -> None:
        self.before: Before | None = None
        """State left by the last frame that went well for the next one; None: nothing yet. Only to
        be touched in a frame's turn."""
        self._size: tuple[int, int] | None = None
        self._moment: float | None = None
        self._busy = False
        self._waiting: deque[tuple[asyncio.Future[bool], bool]] = deque()

    @asynccontextmanager
    async def turn(self, *, drop: bool) -> AsyncIterator[bool]:
        """Wait for a frame's turn; False: a newer one came meanwhile, so it is dropped.

        Only frames with ``drop`` are dropped, and only while they wait.
        """
        if drop:
            self._drop()
        if self._busy:
            future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            self._waiting.append((future, drop))
            try:
                mine = await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled() and future.result():
                    self._next()
                raise
            if not mine:
                yield False
                return
        self._busy = True
        try:
            yield True
        finally:
            self._next()

    def begin(self, moment: float, width: int, height: int) -> Before | None:
        """Give the state that a frame is to go on from, taken at ``moment`` (seconds); only in its
        turn.

        Nothing where the time goes back, or where frames have another size than before.
        """
        if (self._moment is not None and moment <= self._moment) or (
            self._size is not None and self._size != (width, height)
        ):
            self.before = None
        self._moment, self._size = moment, (width, height)
        return self.before

    def _drop(self) -> None:
        kept = [(future, drop) for future, drop in self._waiting if not drop]
        for future, drop in self._waiting:
            if drop and not future.done():
                future.set_result(False)
        self._waiting = deque(kept)

    def _next(self) -> None:
        """Hand the turn to the first that still waits."""
        while self._waiting:
            future, _ = self._waiting.popleft()
            if not future.done():
                future.set_result(True)
                return
        self._busy = False


class Videos:
    """The videos of all clients; those of a client go with it.

    A client is whatever ``Request.source`` says, which must take weak references; where it says
    nothing, whoever asks is one and the same.
    """

    def __init__(self) -> None:
        self._of: WeakKeyDictionary[Any, OrderedDict[Hashable, Video[Any]]] = WeakKeyDictionary()

    def video(self, source: Any, key: Hashable) -> Video[Any]:
        """Find a client's video by its key; a new one where there is none."""
        videos = self._of.setdefault(self if source is None else source, OrderedDict())
        if key not in videos:
            videos[key] = Video()
            while len(videos) > MOST_STREAMS:
                videos.popitem(last=False)
        videos.move_to_end(key)
        return videos[key]

    def __len__(self) -> int:
        return sum(len(videos) for videos in self._of.values())
