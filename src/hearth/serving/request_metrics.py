"""Counts what became of the requests, for the metrics to read."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from hearth.batching import SECONDS, Histogram, HistogramSnapshot, Timings

LONG_SECONDS = (*SECONDS, 30.0, 100.0, 300.0)
"""Bounds for times of whole requests: an answer that streams may take minutes."""

STAGES = ("decode", "wait", "run", "encode")


class RequestStatistics(NamedTuple):
    """Counts since the node was made. Tasks are named as declared; ``""``: no such task."""

    requests: Mapping[tuple[str, str], int]
    """Requests by task and code: a gRPC status's name."""
    seconds: Mapping[str, HistogramSnapshot]
    """Times by task: from whole request to answer, before it is written."""
    stages: Mapping[tuple[str, str], HistogramSnapshot]
    """Times by task and one of STAGES; only the stages that a request went through."""
    first_parts: Mapping[str, HistogramSnapshot]
    """Times by task from whole request to the first part of a streamed answer."""
    parts: Mapping[str, HistogramSnapshot]
    """Times by task between two parts of a streamed answer, as they were handed on."""


class RequestMetrics:
    """Counts requests on the loop's thread, and is read there."""

    def __init__(self) -> None:
        self._tasks: dict[str, _TaskMetrics] = {}

    def count(self, task: str, code: str, seconds: float, timings: Timings | None) -> None:
        """Count one request; ``task`` is one of the declared names, or empty."""
        counts = self._tasks.get(task) or self._of(task)
        counts.codes[code] += 1
        counts.seconds.observe(seconds)
        if timings is None:
            return
        if timings.encode:
            counts.encode.observe(timings.encode)
        if timings.preprocess:
            counts.decode.observe(timings.preprocess)
        if timings.batch:
            counts.wait.observe(timings.wait)
            counts.run.observe(timings.run)

    def note_first_part(self, task: str, seconds: float) -> None:
        """Note how long a streamed answer's first part took."""
        (self._tasks.get(task) or self._of(task)).first_parts.observe(seconds)

    def note_part(self, task: str, seconds: float) -> None:
        """Note how long another part came after the one before it."""
        (self._tasks.get(task) or self._of(task)).parts.observe(seconds)

    def statistics(self) -> RequestStatistics:
        """Take a consistent reading."""
        tasks = self._tasks.items()
        stages = {
            (task, stage): getattr(counts, stage).snapshot()
            for task, counts in tasks
            for stage in STAGES
        }
        first_parts = {task: counts.first_parts.snapshot() for task, counts in tasks}
        parts = {task: counts.parts.snapshot() for task, counts in tasks}
        return RequestStatistics(
            {(task, code): count for task, counts in tasks for code, count in counts.codes.items()},
            {task: counts.seconds.snapshot() for task, counts in tasks},
            {key: snapshot for key, snapshot in stages.items() if any(snapshot.counts)},
            {task: snapshot for task, snapshot in first_parts.items() if any(snapshot.counts)},
            {task: snapshot for task, snapshot in parts.items() if any(snapshot.counts)},
        )

    def _of(self, task: str) -> "_TaskMetrics":
        return self._tasks.setdefault(task, _TaskMetrics())


class _TaskMetrics:
    """Counts and times of one task."""

    __slots__ = ("codes", "first_parts", "parts", "seconds", *STAGES)

    def __init__(self) -> None:
        self.codes: Counter[str] = Counter()
        self.seconds = Histogram(LONG_SECONDS)
        self.decode = Histogram(SECONDS)
        self.wait = Histogram(SECONDS)
        self.run = Histogram(SECONDS)
        self.encode = Histogram(SECONDS)
        self.first_parts = Histogram(LONG_SECONDS)
        self.parts = Histogram(SECONDS)
