"""Many sources through the pool: each has one answer, and few are held at a time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Iterator
from typing import Any

from hearth.client.answer import Answer
from hearth.client.drawing import END, as_async

Sources = AsyncIterable[Any] | Iterable[Any]

MOST_AHEAD = 4
"""Answers that are held, in multiples of the room: those that are early in an ordered map, or
that nobody has taken yet."""


class MapRun:
    """``ask`` gives the answer to the source of a number; ``room`` is how many may run now.

    Workers, as many as there is room, draw a source each and ask for it, again and again.
    """

    def __init__(
        self,
        sources: Sources,
        ask: Callable[[int, Any], Awaitable[Answer]],
        room: Callable[[], int],
        *,
        ordered: bool,
    ) -> None:
        self._sources = as_async(sources)
        self._ask = ask
        self._room = room
        self._ordered = ordered
        self._drawing = asyncio.Lock()
        self._drawn = 0
        self._all_drawn = False
        self._workers: set[asyncio.Task[None]] = set()
        self._settled: asyncio.Queue[Answer | BaseException | None] = asyncio.Queue()
        self._early: dict[int, Answer] = {}
        self._handed_on = 0
        self._taken = asyncio.Event()

    async def answers(self) -> AsyncGenerator[Answer, None]:
        """One for each source; an exception of the sources' iterator ends them."""
        self._add_workers()
        try:
            while (answer := await self._settled.get()) is not None:
                if isinstance(answer, BaseException):
                    raise answer
                for each in self._in_turn(answer):
                    yield each
        finally:
            workers = list(self._workers)
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            await self._sources.aclose()

    def _in_turn(self, answer: Answer) -> Iterator[Answer]:
        """What can be handed on, now that this answer is there."""
        self._early[answer.index] = answer
        while self._early:
            index = self._handed_on if self._ordered else answer.index
            if (following := self._early.pop(index, None)) is None:
                return
            self._handed_on += 1
            self._taken.set()
            yield following

    def _add_workers(self) -> None:
        """As many as there is room, which grows when a node joins."""
        if self._all_drawn:
            return
        for _ in range(self._room() - len(self._workers)):
            self._workers.add(asyncio.create_task(self._work()))

    async def _work(self) -> None:
        try:
            while len(self._workers) <= self._room() and not self._all_drawn:
                async with self._drawing:
                    await self._wait_for_the_caller()
                    source = await anext(self._sources, END)
                    index, self._drawn = self._drawn, self._drawn + 1
                if source is END:
                    self._all_drawn = True
                    break
                self._settled.put_nowait(await self._ask(index, source))
                self._add_workers()
        except asyncio.CancelledError as error:
            # Its frames would hold us, and we it: the sources were closed late then.
            self._settled.put_nowait(error.with_traceback(None))
        except BaseException as error:
            self._settled.put_nowait(error)
        finally:
            self._workers.discard(asyncio.current_task())
            if self._all_drawn and not self._workers:
                self._settled.put_nowait(None)

    async def _wait_for_the_caller(self) -> None:
        while self._drawn - self._handed_on >= MOST_AHEAD * self._room():
            self._taken.clear()
            await self._taken.wait()
