"""Statistics of a queue, and how they are counted: cheap enough for the hot path."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, NamedTuple

from hearth.batching.context import QueueEntry

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds for times, from a hop between threads to a page of text on a small board."""

SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
"""Bounds for batches."""


class HistogramSnapshot(NamedTuple):
    """``counts`` has one number more than ``bounds``: what lay above all of them."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float


class Histogram:
    """Values counted by the first bound that they don't pass. Not thread-safe."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def snapshot(self) -> HistogramSnapshot:
        """Return what was counted so far."""
        return HistogramSnapshot(self._bounds, tuple(self._counts), self._sum)


class QueueStatistics(NamedTuple):
    """A queue at one moment; counts and histograms are since it was made.

    Every entry that was let in is, in the end, in one of ``items``, ``unprepared``,
    ``expired`` and ``cancelled``; or refused by ``close``.
    """

    waiting: int
    """Entries without an answer that aren't running: raw, in preparation, and ready."""
    ready: int
    """Waiting entries that only wait for the model."""
    running: int
    capacity: int
    max_batch: int
    """Largest batch that is formed now."""
    items: int
    """Entries that ran; where a queue only prepares: that were prepared."""
    batches: int
    """Calls of the model, the parts of failed batches included."""
    failed: int
    """Entries that ran and were answered with an error."""
    unprepared: int
    """Raw entries whose preparation failed; they never ran."""
    expired: int
    cancelled: int
    refused: int
    shrunk: int
    """Times that memory was short and the largest batch was made smaller."""
    batch_sizes: HistogramSnapshot
    waits: HistogramSnapshot
    """Seconds in line, for preparation and for the model together."""
    runs: HistogramSnapshot
    """Seconds of a batch."""
    preparations: HistogramSnapshot
    """Seconds of preparing one item."""


class QueueMetrics:
    """Running counts of one queue; used under its lock."""

    def __init__(self) -> None:
        self.items = self.batches = self.failed = self.unprepared = 0
        self.expired = self.cancelled = self.refused = self.shrunk = 0
        self.batch_sizes = Histogram(SIZES)
        self.waits, self.runs, self.preparations = (Histogram(SECONDS) for _ in range(3))

    def note(
        self, batch: Sequence[QueueEntry], answers: Sequence[Any], runs: int, seconds: float
    ) -> None:
        """Count a batch: what it gave, in how many calls, in how many seconds."""
        self.items += len(batch)
        self.batches += runs
        self.failed += sum(isinstance(answer, BaseException) for answer in answers)
        self.batch_sizes.observe(len(batch))
        self.runs.observe(seconds)
        for entry in batch:
            self.waits.observe(entry.waited)

    def prepared(self, seconds: float, *, failed: bool, wanted: bool) -> None:
        """Count an item that was prepared, or could not be, or that nobody waits for any more."""
        self.preparations.observe(seconds)
        self.unprepared += failed
        self.cancelled += not failed and not wanted

    def finished(self, entry: QueueEntry) -> None:
        """Count an item of which nothing else is to be done."""
        self.items += 1
        self.waits.observe(entry.waited)

    def reading(
        self, *, waiting: int, ready: int, running: int, capacity: int, max_batch: int
    ) -> QueueStatistics:
        """Return all of it at this moment."""
        return QueueStatistics(
            waiting=waiting,
            ready=ready,
            running=running,
            capacity=capacity,
            max_batch=max_batch,
            items=self.items,
            batches=self.batches,
            failed=self.failed,
            unprepared=self.unprepared,
            expired=self.expired,
            cancelled=self.cancelled,
            refused=self.refused,
            shrunk=self.shrunk,
            batch_sizes=self.batch_sizes.snapshot(),
            waits=self.waits.snapshot(),
            runs=self.runs.snapshot(),
            preparations=self.preparations.snapshot(),
        )
