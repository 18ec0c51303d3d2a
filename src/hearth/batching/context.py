"""What travels with an item beside the item."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple


class Timings:
    """Where a request's time went, in seconds; every queue that it passes adds to it."""

    __slots__ = ("batch", "decode", "encode", "run", "wait")

    def __init__(self) -> None:
        self.decode = 0.0
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
        """Add what one of several took that went side by side: the one that took longest."""
        slowest = max(parts, key=lambda part: part.wait + part.run, default=self)
        if slowest is not self:
            self.wait += slowest.wait
            self.run += slowest.run
            self.batch = max(self.batch, *(part.batch for part in parts))


class RequestContext(NamedTuple):
    """Whose an item is, whether somebody waits for it, and until when an answer is of use."""

    deadline: float | None = None
    """On the clock of ``time.monotonic()``; None: no hurry."""
    source: Hashable = None
    """Sources (the streams of clients) take turns."""
    interactive: bool = False
    """Somebody waits for it: it overtakes what isn't interactive."""
    timings: Timings | None = None
    """Filled in on the way."""


NO_CONTEXT = RequestContext()
