"""Many sources through the pool: each has one answer, and few are held at a time."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from typing import Any

from hearth.client.answer import Answer
from hearth.client.retry import Done, PendingRequest
from hearth.client.source_reader import PendingRead, Unreadable
from hearth.client.sources import END, Payload, as_async
from hearth.client.task_call import TaskCall
from hearth.errors import DeadlinePassed, HearthError

Sources = AsyncIterable[Any] | Iterable[Any]

MAX_AHEAD = 4
"""Answers that are held, in multiples of the room: those that are early in an ordered map, or
that nobody has taken yet."""
MAX_READ_AHEAD = 16
"""Number of files that are read before there is room to send them."""


class _Item(PendingRequest):
    """A source on its way to its answer."""

    __slots__ = ("index", "payload", "reading", "run", "source", "taking")

    def __init__(self, run: "MapRun", index: int, source: Any, deadline: float) -> None:
        super().__init__(deadline)
        self.run = run
        self.index = index
        self.source = source
        self.payload: Payload | None = None
        self.reading: PendingRead | None = None
        self.taking: asyncio.Task[None] | None = None

    def finish(self, result: Done | BaseException) -> None:
        """Take what has become of the request."""
        self.run.finish(self, result)

    def take(self, result: Payload | HearthError | Unreadable) -> None:
        """Take what was read."""
        self.reading = None
        self.run.take(self, result)

    def cancel(self) -> None:
        """Wait for nothing more."""
        if self.taking is not None:
            self.taking.cancel()
        if self.reading is not None:
            self.run.call.cancel(self.reading)
        super().cancel()


class MapRun:
    """One answer for each source; ``room`` is how many requests may be in flight now.

    All of it happens in callbacks, one for each answer: it makes room for the next source, which
    is drawn and sent at once, if it is in memory. Files are read a few ahead of the room.
    """

    def __init__(
        self, sources: Sources, call: TaskCall, room: Callable[[], int], *, ordered: bool
    ) -> None:
        self.call = call
        self._room = room
        self._ordered = ordered
        self._loop: asyncio.AbstractEventLoop
        self._iterator = None if isinstance(sources, AsyncIterable) else iter(sources)
        self._async_sources = as_async(sources) if isinstance(sources, AsyncIterable) else None
        self._drawing: asyncio.Task[None] | None = None
        self._may_draw: asyncio.Future[None] | None = None
        self._drawn = 0
        self._all_drawn = False
        self._items: set[_Item] = set()
        self._read: deque[_Item] = deque()
        """Items whose payload is there, without room to be sent."""
        self._sent = 0
        self._reads_files = False
        self._fills_up = False
        self._is_filling = False
        self._is_held_back = False
        self._early: dict[int, Answer] = {}
        self._settled: deque[Answer] = deque()
        """Answers whose turn it is."""
        self._next_index = 0
        self._handed_on = 0
        self._error: BaseException | None = None
        self._consumer: asyncio.Future[None] | None = None

    async def answers(self) -> AsyncGenerator[Answer, None]:
        """Yield one for each source; an exception of the sources' iterator ends them."""
        self._loop = asyncio.get_running_loop()
        try:
            if self._async_sources is not None:
                self._drawing = asyncio.create_task(self._draw_all(self._async_sources))
            self._fill()
            while True:
                while self._settled:
                    answer = self._settled.popleft()
                    self._handed_on += 1
                    if self._is_held_back:
                        self._fill()
                    yield answer
                if self._error is not None:
                    raise self._error
                if self._all_drawn and not self._items:
                    return
                self._consumer = self._loop.create_future()
                await self._consumer
        finally:
            await self._close()

    def finish(self, item: _Item, result: Done | BaseException) -> None:
        """Take what has become of an item's request."""
        self._sent -= 1
        if item.payload is not None:
            self.call.give_back(item.payload)
            item.payload = None
        if isinstance(result, BaseException):
            self._fail(result)
        else:
            self._settle(item, result)

    def take(self, item: _Item, result: Payload | HearthError | Unreadable) -> None:
        """Take what was read of an item."""
        if isinstance(result, HearthError | Unreadable):
            self._settle(item, self.call.not_sent(result))
        else:
            item.payload = result
            self._read.append(item)
            self._fill()

    async def _close(self) -> None:
        items, self._items = list(self._items), set()
        tasks = [item.taking for item in items if item.taking is not None]
        for item in items:
            item.cancel()
            if item.payload is not None:
                self.call.give_back(item.payload)
        if self._drawing is not None:
            self._drawing.cancel()
            tasks.append(self._drawing)
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._async_sources is not None:
            await self._async_sources.aclose()

    def _fill(self) -> None:
        """Send and draw as long as there is room."""
        if self._is_filling:
            return  # by what is sent here, and fails at once
        self._is_filling = True
        room, iterator = self._room(), self._iterator
        try:
            while self._error is None:
                if self._read and self._sent < room:
                    self._send(self._read.popleft(), self._loop.time())
                elif self._all_drawn or not self._has_room(room):
                    return
                elif iterator is not None:
                    self._begin(next(iterator, END), room)
                else:
                    if self._may_draw is not None and not self._may_draw.done():
                        self._may_draw.set_result(None)
                    return
        except BaseException as error:  # of the caller's own iterator
            self._fail(error)
        finally:
            self._is_filling = False

    def _has_room(self, room: int) -> bool:
        """Tell whether a source may be drawn."""
        self._is_held_back = self._drawn - self._handed_on >= MAX_AHEAD * room
        open_ = len(self._items)
        if self._is_held_back or not self._reads_files or open_ < room:
            return open_ < room and not self._is_held_back
        # Several at a time, for one wake of a thread.
        ahead = min(room // 4, MAX_READ_AHEAD)
        if open_ - self._sent <= ahead // 2:
            self._fills_up = True
        elif open_ >= room + ahead:
            self._fills_up = False
        return self._fills_up and open_ < room + ahead

    async def _draw_all(self, sources: AsyncGenerator[Any, None]) -> None:
        try:
            while not self._all_drawn:
                if self._has_room(self._room()):
                    self._begin(await anext(sources, END), self._room())
                else:
                    self._may_draw = self._loop.create_future()
                    await self._may_draw
        except asyncio.CancelledError as error:
            # Its frames would hold us, and we it: the sources were closed late then.
            self._fail(error.with_traceback(None))
            raise
        except BaseException as error:
            self._fail(error)

    def _begin(self, source: Any, room: int) -> None:
        if source is END:
            self._all_drawn = True
            self._wake()
            return
        now = self._loop.time()
        item = _Item(self, self._drawn, source, self.call.deadline(now))
        self._drawn += 1
        self._items.add(item)
        if now >= item.deadline:
            self._settle(item, self.call.not_sent(DeadlinePassed("no answer in time")))
        elif self._sent < room and (payload := self.call.take_now(source)) is not None:
            item.payload = payload
            self._send(item, now)
        else:
            item.reading = self.call.read(source, item.deadline, item.take)
            if item.reading is None:
                item.taking = asyncio.create_task(self._take(item))
            else:
                self._reads_files = True

    async def _take(self, item: _Item) -> None:
        try:
            result: Payload | HearthError | Unreadable = await self.call.take(
                item.source, item.deadline
            )
        except (HearthError, Unreadable) as error:
            result = error
        except Exception as error:
            self._fail(error)
            return
        self.take(item, result)

    def _send(self, item: _Item, now: float) -> None:
        assert item.payload is not None
        self._sent += 1
        self.call.send(item.payload, item, now)

    def _settle(self, item: _Item, done: Done) -> None:
        self._items.discard(item)
        answer = Answer(item.source, item.index, done.node, done.outcome)
        if not self._ordered:
            self._settled.append(answer)
        else:
            self._early[item.index] = answer
            while (following := self._early.pop(self._next_index, None)) is not None:
                self._next_index += 1
                self._settled.append(following)
        self._fill()
        self._wake()

    def _fail(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error
        self._wake()

    def _wake(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None and not consumer.done():
            consumer.set_result(None)
