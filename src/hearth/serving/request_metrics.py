"""What became of the requests: counted here, read by the metrics."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from hearth.batching import SECONDS, Histogram, HistogramSnapshot, Timings

OK = "OK"
CANCELLED = "CANCELLED"
"""The client left before the answer was there."""

STAGES = ("decode", "wait", "run", "encode")


class RequestStatistics(NamedTuple):
    """Counts since the node was made. Tasks are named as declared; ``""``: no such task."""

    requests: Mapping[tuple[str, str], int]
    """By task and code: a gRPC status's name."""
    seconds: Mapping[str, HistogramSnapshot]
    """By task: from whole request to answer, before it is written."""
    stages: Mapping[tuple[str, str], HistogramSnapshot]
    """By task and one of STAGES, in seconds; only the stages that a request went through."""


class RequestMetrics:
    """Counts requests on the loop's thread, and is read there."""

    def __init__(self) -> None:
        self._tasks: dict[str, _Counts] = {}

    def count(self, task: str, code: str, seconds: float, timings: Timings) -> None:
        """Count one request; ``task`` is one of the declared names, or empty."""
        counts = self._tasks.get(task)
        if counts is None:
            counts = self._tasks[task] = _Counts()
        counts.codes[code] += 1
        counts.seconds.observe(seconds)
        if timings.encode:
            counts.encode.observe(timings.encode)
        if timings.decode:
            counts.decode.observe(timings.decode)
        if timings.batch:
            counts.wait.observe(timings.wait)
            counts.run.observe(timings.run)

    def statistics(self) -> RequestStatistics:
        """A consistent reading."""
        return RequestStatistics(
            {
                (task, code): count
                for task, counts in self._tasks.items()
                for code, count in counts.codes.items()
            },
            {task: counts.seconds.snapshot() for task, counts in self._tasks.items()},
            {
                (task, stage): reading
                for task, counts in self._tasks.items()
                for stage in STAGES
                if any((reading := getattr(counts, stage).snapshot()).counts)
            },
        )


class _Counts:
    """Those of one task."""

    __slots__ = ("codes", "seconds", *STAGES)

    def __init__(self) -> None:
        self.codes: Counter[str] = Counter()
        self.seconds = Histogram(SECONDS)
        self.decode = Histogram(SECONDS)
        self.wait = Histogram(SECONDS)
        self.run = Histogram(SECONDS)
        self.encode = Histogram(SECONDS)
