"""What a queue tells of itself, and how it keeps count."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from hearth.batching.entry import Entry
from hearth.batching.histogram import SECONDS, SIZES, Histogram, HistogramSnapshot


class QueueStatistics(NamedTuple):
    """A queue at one moment; counts and histograms are since it was made.

    Every entry that was let in is, in the end, in one of ``items``, ``unprepared``,
    ``expired`` and ``cancelled``; or refused by ``close``.
    """

    waiting: int
    """Entries without an answer that aren't running: raw, in preparation, and ready."""
    ready: int
    """Those of them that only wait for the model."""
    running: int
    capacity: int
    max_batch: int
    """In force now."""
    items: int
    """Entries that ran; where a queue only prepares: that were prepared."""
    batches: int
    """Calls of the model, the parts of failed batches included."""
    failed: int
    """Those of them that were answered with an error."""
    unprepared: int
    """Raw entries whose preparation failed; they never ran."""
    expired: int
    cancelled: int
    refused: int
    shrunk: int
    """How often memory was short and the largest batch was made smaller."""
    batch_sizes: HistogramSnapshot
    waits: HistogramSnapshot
    """Seconds in line, for preparation and for the model together."""
    runs: HistogramSnapshot
    """Seconds of a batch."""
    preparations: HistogramSnapshot
    """Seconds of preparing one item."""


class QueueMetrics:
    """The running counts of one queue; used under its lock."""

    def __init__(self) -> None:
        self.items = self.batches = self.failed = self.unprepared = 0
        self.expired = self.cancelled = self.refused = self.shrunk = 0
        self.batch_sizes = Histogram(SIZES)
        self.waits, self.runs, self.preparations = (Histogram(SECONDS) for _ in range(3))

    def note(
        self, batch: Sequence[Entry], answers: Sequence[Any], runs: int, seconds: float
    ) -> None:
        """A batch is done: what it gave, in how many calls, in how many seconds."""
        self.items += len(batch)
        self.batches += runs
        self.failed += sum(isinstance(answer, BaseException) for answer in answers)
        self.batch_sizes.observe(len(batch))
        self.runs.observe(seconds)
        for entry in batch:
            self.waits.observe(entry.waited)

    def prepared(self, seconds: float, *, failed: bool, wanted: bool) -> None:
        """One item was prepared, or could not be, or nobody waits for it any more."""
        self.preparations.observe(seconds)
        self.unprepared += failed
        self.cancelled += not failed and not wanted

    def done(self, entry: Entry) -> None:
        """Prepared, and nothing else is to be done."""
        self.items += 1
        self.waits.observe(entry.waited)

    def reading(
        self, *, waiting: int, ready: int, running: int, capacity: int, max_batch: int
    ) -> QueueStatistics:
        """Everything at this moment."""
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
