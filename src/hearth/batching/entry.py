"""One item on its way through a queue, and the way of its answer back to the loop."""

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from hearth.batching.context import RequestContext
from hearth.errors import HearthError, ModelFailed

log = logging.getLogger(__name__)


class Entry:
    """An item with its context and the future that its answer goes to.

    Made on the loop; a worker and then the owner thread handle it, one after the other.
    """

    __slots__ = (
        "context",
        "future",
        "heavy",
        "item",
        "key",
        "loop",
        "passing",
        "prepare",
        "since",
        "waited"
    )  # fmt: skip

    def __init__(
        self,
        item: Any,
        key: Hashable,
        context: RequestContext,
        loop: asyncio.AbstractEventLoop,
        prepare: Callable[[Any], Any] | None = None,
    ) -> None:
        self.item = item
        """What ``prepare`` takes, and then what it gave."""
        self.key = key
        self.context = context
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.prepare = prepare
        """None once the item is ready."""
        self.heavy = False
        """Whether it is to be prepared alone."""
        self.passing = False
        """Whether it goes on to a next stage, and counts as ahead until that is done."""
        self.since = time.monotonic()
        """When it came into the line where it stands."""
        self.waited = 0.0
        """Seconds in lines that it has left."""

    @property
    def source(self) -> Hashable:
        return self.context.source

    @property
    def interactive(self) -> bool:
        return self.context.interactive

    def leaves(self, now: float) -> None:
        """Its time in this line is over."""
        self.waited += now - self.since

    def ran(self, seconds: float, batch: int) -> None:
        """Tell the context what became of the time."""
        if (timings := self.context.timings) is not None:
            timings.wait += self.waited
            timings.run += seconds
            timings.batch = max(timings.batch, batch)

    def make_ready(self) -> None:
        """Prepare the item; raises what that raises."""
        prepare, self.prepare = self.prepare, None
        assert prepare is not None
        self.item = prepare(self.item)

    def was_prepared(self, began: float, ended: float) -> None:
        """Tell the context how long that took; the next line begins."""
        self.since = ended
        if (timings := self.context.timings) is not None:
            timings.decode += ended - began


class QueueHandle:
    """Handle of an item on its way through a queue; ``inherit_priority`` takes it."""

    __slots__ = ("entry",)

    def __init__(self) -> None:
        self.entry: Entry | None = None


def as_failure(error: BaseException, name: str) -> HearthError:
    """What a client is told of an error: ours as it is, anything else as ModelFailed.

    Without tracebacks: their frames hold the whole batch.
    """
    if not isinstance(error, HearthError):
        log.debug("%s failed", name, exc_info=error)
    cause: BaseException | None = error
    while cause is not None:
        cause.__traceback__ = None
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, HearthError):
        return error
    failure = ModelFailed(f"{name} failed: {error or type(error).__name__}")
    failure.__cause__ = error
    return failure


def resolve(outcomes: Iterable[tuple[Entry, Any]]) -> None:
    """Hand answers and exceptions to their loops, one call for each loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for entry, outcome in outcomes:
        entry.item = None
        by_loop.setdefault(entry.loop, []).append((entry.future, outcome))
    for loop, pairs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, pairs)
        except RuntimeError:
            # The loop has closed since: nobody is left who waits.
            continue


def _settle(pairs: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, outcome in pairs:
        if future.done():
            continue
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
