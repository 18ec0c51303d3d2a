"""Many sources through the fleet: each has one answer, and few are held at a time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Any

from hearth.client.answer import Answer
from hearth.client.infer import as_async

Sources = AsyncIterable[Any] | Iterable[Any]

MOST_AHEAD = 4
"""Answers that are held, in multiples of the room: those that are early in an ordered map, or
that nobody has taken yet."""


class MapRun:
    """``ask`` gives the answer to the source of a number; ``room`` is how many may run now."""

    def __init__(
        self,
        sources: Sources,
        ask: Callable[[int, Any], Awaitable[Answer]],
        room: Callable[[], int],
        *,
        ordered: bool,
    ) -> None:
        self._sources = sources
        self._ask = ask
        self._room = room
        self._ordered = ordered
        self._running: set[asyncio.Task[None]] = set()
        self._settled: asyncio.Queue[Answer | BaseException | None] = asyncio.Queue()
        self._early: dict[int, Answer] = {}
        self._turn = 0
        self._held = 0
        self._freed = asyncio.Event()
        self._all_drawn = False

    async def answers(self) -> AsyncGenerator[Answer, None]:
        """One for each source; an exception of the sources' iterator ends them."""
        drawing = asyncio.create_task(self._draw())
        try:
            while (answer := await self._settled.get()) is not None:
                if isinstance(answer, BaseException):
                    raise answer
                for each in self._in_turn(answer):
                    self._held -= 1
                    self._freed.set()
                    yield each
        finally:
            tasks = [drawing, *self._running]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _in_turn(self, answer: Answer) -> Iterator[Answer]:
        """What can be handed on, now that this answer is there."""
        if not self._ordered:
            yield answer
            return
        self._early[answer.index] = answer
        while self._turn in self._early:
            self._turn += 1
            yield self._early.pop(self._turn - 1)

    async def _draw(self) -> None:
        index = 0
        try:
            async with aclosing(as_async(self._sources)) as sources:
                async for source in sources:
                    while self._is_full():
                        self._freed.clear()
                        await self._freed.wait()
                    self._held += 1
                    self._running.add(asyncio.create_task(self._run(index, source)))
                    index += 1
        except asyncio.CancelledError as error:
            # Its frames would hold us, and we it: the sources were closed late then.
            self._settled.put_nowait(error.with_traceback(None))
            return
        except BaseException as error:
            self._settled.put_nowait(error)
            return
        self._all_drawn = True
        self._finish_if_done()

    def _is_full(self) -> bool:
        room = self._room()
        return len(self._running) >= room or self._held >= MOST_AHEAD * room

    async def _run(self, index: int, source: Any) -> None:
        try:
            self._settled.put_nowait(await self._ask(index, source))
        except Exception as error:
            self._settled.put_nowait(error)
        finally:
            self._running.discard(asyncio.current_task())
            self._freed.set()
            self._finish_if_done()

    def _finish_if_done(self) -> None:
        if self._all_drawn and not self._running:
            self._settled.put_nowait(None)
