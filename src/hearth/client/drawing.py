"""What is mapped, drawn one by one, whichever way it comes."""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing
from functools import partial
from typing import TypeVar

from hearth.blocking import run_blocking

T = TypeVar("T")

END = object()
"""Stands behind the last item."""


async def as_async(items: AsyncIterable[T] | Iterable[T]) -> AsyncGenerator[T, None]:
    """The items, whether or not they come without waiting; on this loop."""
    if isinstance(items, AsyncGenerator):
        async with aclosing(items):
            async for item in items:
                yield item
    elif isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


async def beside(items: Iterable[T]) -> AsyncGenerator[T, None]:
    """The items, each drawn on a thread that may be kept waiting."""
    iterator = iter(items)
    while (item := await run_blocking(partial(next, iterator, END))) is not END:
        yield item
