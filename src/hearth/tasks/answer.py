"""Answers of tasks: one whole result, or a stream of parts.

A stream has any number of parts and needn't know how many: the last one says that it is. Parts
are whole answers, such as those of the entries of ``compose``, and are always sent. Deltas tell
ahead of the last part what will stand in it; they are sent to those who ask for them, and two of
them that still wait for their client become one.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from types import MappingProxyType
from typing import NamedTuple, Self

from hearth.batching import Timings
from hearth.errors import DeadlinePassed

NO_META: Mapping[str, str] = MappingProxyType({})


class Result(NamedTuple):
    """One whole answer, before it is cut into chunks."""

    body: bytes
    mime: str
    schema: str
    meta: Mapping[str, str] = NO_META


class Part(NamedTuple):
    """One of several whole answers to a request: a result, or else an error."""

    result: Result | None = None
    error: BaseException | None = None
    is_last: bool = False
    """Whether the answer ends with it."""
    meta: Mapping[str, str] = NO_META
    """Meta that the client is told beside the result's own, and of an error too."""
    task: str = ""
    """Name of the task that answered, where the part counts as a request of its own."""
    seconds: float = 0.0
    """Seconds that this took."""
    timings: Timings | None = None
    """Parts into which that time went."""


class Delta(ABC):
    """A piece that an answer has got since the delta before; never the last that is sent of it."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Bytes of what it tells, near enough."""

    @abstractmethod
    def merged(self, later: Self) -> Self:
        """Join it with the delta that follows, into one that tells both."""

    @abstractmethod
    def render(self) -> Result:
        """Write it as a whole answer with a schema of its own; must not fail."""


def _nothing() -> None:
    return None


class AnswerStream(NamedTuple):
    """An answer in parts; whoever iterates closes ``parts`` at the end, which frees the producer.

    The first step may raise whatever a request may.
    """

    parts: AsyncGenerator[Part | Delta, None]
    so_far: Callable[[], Result | None] = _nothing
    """Function that makes a whole result of what there is when a client calls its request off, or
    the deadline passes; None where such an answer is of no use. Asked after ``parts`` are
    closed."""
    keeps_time: bool = False
    """Whether its parts end by the request's deadline of themselves, each with its own error."""

    async def last(self, deadline: float | None = None) -> Result:
        """Wait for the end; gives the last part's result, or raises its error.

        Raises DeadlinePassed at ``deadline``, on the clock of ``time.monotonic()``.
        """
        seconds = None if deadline is None else deadline - time.monotonic()
        try:
            async with asyncio.timeout(seconds) as limit, aclosing(self.parts) as parts:
                async for part in parts:
                    if isinstance(part, Part) and part.is_last:
                        if part.result is not None:
                            return part.result
                        raise part.error or AssertionError("a part without an answer")
        except TimeoutError:
            if not limit.expired():
                raise  # somebody else's
            raise DeadlinePassed("the deadline passed") from None
        raise AssertionError("a streamed answer had no last part")
