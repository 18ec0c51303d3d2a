"""Answers written beside the loop: whoever reads them may keep us waiting, and no node for it."""

import asyncio
from collections.abc import AsyncIterable, Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

from hearth.blocking import run_blocking

T = TypeVar("T")

MOST_WAITING = 64
"""Answers that may wait to be written; then none is taken from the client. A bound on memory."""
LAST_SECONDS = 1.0
"""Seconds in which answers may still be written once we are told to end."""


class AsyncWriter(Generic[T]):
    """Writer of answers on another thread: ``write`` takes one after the other."""

    def __init__(self, write: Callable[[T], None]) -> None:
        self._write = write
        self._waiting: list[T] = []
        self._all_here = False
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self.is_stuck = False
        """Whether it was ended in the middle of a write."""

    async def follow(self, answers: AsyncIterable[T]) -> None:
        """Write them all; raises what ``write`` raises, at once, and what ``answers`` do."""
        drawing = asyncio.create_task(self._draw(answers))
        writing = asyncio.create_task(self._write_all())
        try:
            await asyncio.wait({writing})
        finally:
            drawing.cancel()
            ended, _ = await asyncio.wait({writing, drawing}, timeout=LAST_SECONDS)
            self.is_stuck = writing not in ended
            errors = [each.exception() for each in ended if not each.cancelled()]
        for error in filter(None, errors):
            raise error

    async def _draw(self, answers: AsyncIterable[T]) -> None:
        try:
            async for answer in answers:
                self._waiting.append(answer)
                self._news.set()
                while len(self._waiting) >= MOST_WAITING:
                    self._room.clear()
                    await self._room.wait()
        finally:
            self._all_here = True
            self._news.set()

    async def _write_all(self) -> None:
        while self._waiting or not self._all_here:
            await self._news.wait()
            self._news.clear()
            while batch := self._waiting:
                self._waiting = []
                self._room.set()
                await run_blocking(partial(self._write_each, batch))

    def _write_each(self, batch: Sequence[T]) -> None:
        for each in batch:
            self._write(each)
