"""What a request brings along through every queue: until when, for whom, and its times."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple


class Timings:
    """Where a request's time went, in seconds; every queue that it passes adds to it."""

    __slots__ = ("batch", "encode", "preprocess", "run", "wait")

    def __init__(self) -> None:
        self.preprocess = 0.0
        """Being prepared, in a worker thread."""
        self.wait = 0.0
        """Waiting: to be prepared, and for the model."""
        self.run = 0.0
        """In batches that ran."""
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
