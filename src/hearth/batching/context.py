"""Context of an item in the queues: the facts of its request, and its answer's way back to the
loop.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple

from hearth.errors import HearthError, ModelFailed

log = logging.getLogger(__name__)


class Timings:
    """Times of a request by stage, in seconds; every queue that it passes adds to them."""

    __slots__ = ("batch", "encode", "preprocess", "run", "wait")

    def __init__(self) -> None:
        self.preprocess = 0.0
        """Being prepared, in a worker thread."""
        self.wait = 0.0
        """Waiting: to be prepared, and for the model."""
        self.run = 0.0
        """Seconds in batches that ran."""
        self.batch = 0
        """The size of the largest batch it was part of; 0: of none."""
        self.encode = 0.0
        """Rendering the answer as bytes; no queue's affair."""

    def add_slowest(self, parts: Sequence["Timings"]) -> None:
        """Add the times of the slowest of several parts that went side by side."""
        slowest = max(parts, key=lambda part: part.wait + part.run, default=self)
        if slowest is not self:
            self.wait += slowest.wait
            self.run += slowest.run
            self.batch = max(self.batch, *(part.batch for part in parts))


class RequestContext(NamedTuple):
    """The facts of a request that queues go by."""

    deadline: float | None = None
    """Moment from which an answer is of no use, on the clock of ``time.monotonic()``; None:
    it always is."""
    source: Hashable = None
    """Stream of a client; sources take turns."""
    interactive: bool = False
    """Whether somebody waits for it: it overtakes what isn't interactive."""
    timings: Timings | None = None
    """Filled in on the way."""


NO_CONTEXT = RequestContext()


class QueueEntry:
    """An item with the facts of its request and the future that its answer goes to.

    Made on the loop; a worker and then the owner thread handle it, one after the other.
    """

    __slots__ = (
        "deadline", "exclusive", "future", "interactive", "item", "key", "loop", "passing",
        "prepare", "since", "source", "timings", "waited",
    )  # fmt: skip

    def __init__(
        self,
        item: Any,
        key: Hashable,
        context: RequestContext,
        loop: asyncio.AbstractEventLoop,
        prepare: Callable[[Any], Any] | None = None,
    ) -> None:
        self.deadline, self.source, self.interactive, self.timings = context
        self.item = item
        """Argument of ``prepare``, and then its result."""
        self.key = key
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.prepare = prepare
        """Function that makes the item; None once the item is ready."""
        self.exclusive = False
        """Whether it is to be prepared alone."""
        self.passing = False
        """Whether it goes on to a next stage, and counts as ahead until that is done."""
        self.since = time.monotonic()
        """Time at which it came into the queue where it stands."""
        self.waited = 0.0
        """Seconds in queues that it has left."""

    def add_times(self, seconds: float, batch: int) -> None:
        """Add its waiting, and a run of ``seconds`` in a batch, to its request's times."""
        if (timings := self.timings) is not None:
            timings.wait += self.waited
            timings.run += seconds
            timings.batch = max(timings.batch, batch)


class QueueHandle:
    """Handle of an item on its way through a queue; ``BatchQueue.inherit_priority`` takes it."""

    entry: QueueEntry | None = None


def as_failure(error: BaseException, name: str) -> HearthError:
    """Return what a client is told of an error: ours as it is, anything else as ModelFailed.

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


def resolve(outcomes: Iterable[tuple[QueueEntry, Any]]) -> None:
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
