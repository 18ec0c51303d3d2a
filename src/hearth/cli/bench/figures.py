"""Measurements of one level of load, and the figures that they come to."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

PERCENTILES = (50, 95, 99)


class LoadPlan(NamedTuple):
    """One level of load."""

    in_flight: int
    """Requests that are always in flight; with ``rate``, the most that may be."""
    rate: float | None = None
    """Requests a second that are sent whatever becomes of those before; None: closed loop."""
    poisson: bool = False
    """Whether they come at random times, as those of many clients do, or evenly."""


class Sample(NamedTuple):
    """One request; times are seconds of one clock."""

    due: float
    """Time when it was to be sent; in a closed loop, when it was."""
    done: float
    code: str = ""
    """Code of the error; empty where there is an answer."""
    node: str = ""
    """``HOST:PORT`` of the node that answered."""
    batch: float | None = None
    """Number of requests in its batch, where the node says so."""
    queue_ms: float | None = None


@dataclass(slots=True)
class LevelMeasurement:
    """Requests of one level; those count that were due in the time measured."""

    plan: LoadPlan
    begin: float = math.inf
    """End of the warm-up."""
    end: float = math.inf
    """Time after which no request is sent."""
    samples: list[Sample] = field(default_factory=list)
    unsent: int = 0
    """Requests of an open loop that were due when as many were in flight as may be."""
    cut: bool = False
    """Whether it was interrupted: there was more to come."""

    def figures(self) -> "Figures":
        """Compute throughput, latencies and errors."""
        counted = [each for each in self.samples if self.begin <= each.due <= self.end]
        answered = [each for each in counted if not each.code]
        times = sorted((each.done - each.due) * 1000 for each in answered)
        seconds = self._seconds()
        return Figures(
            requests=len(counted),
            answers=len(answered),
            seconds=seconds,
            throughput=self._arrived(self.begin + seconds) / (seconds or 1.0),
            latency_ms={f"p{p}": percentile(times, p) for p in PERCENTILES},
            errors=dict(Counter(each.code for each in counted if each.code)),
            nodes=dict(Counter(each.node for each in answered)),
            batch=_mean(each.batch for each in answered),
            unbatched=sum(each.batch is None for each in answered),
            queue_ms=_median(each.queue_ms for each in answered),
        )

    def _arrived(self, end: float) -> int:
        """Count answers that came while it was measured, those too that were asked for before.

        At the end of a closed loop, waiting for the last ones, less is in flight than was
        to be measured: what comes then says nothing of the throughput.
        """
        return sum(not each.code and self.begin <= each.done <= end for each in self.samples)

    def _seconds(self) -> float:
        """Return seconds measured; to the last answer where requests were counted or none came."""
        last = max((each.done for each in self.samples), default=self.begin)
        end = last if math.isinf(self.end) or not self._arrived(self.end) else self.end
        return max(0.0, end - self.begin) if math.isfinite(end) else 0.0


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one level; one is None where nothing was answered, or the nodes don't say."""

    requests: int
    """Requests sent in the time measured."""
    answers: int
    """Answers to these."""
    seconds: float
    throughput: float
    """Answers a second in the time measured."""
    latency_ms: dict[str, float | None]
    """Percentiles of the milliseconds from when a request was due to its answer."""
    errors: dict[str, int]
    """Numbers of errors by their gRPC codes."""
    nodes: dict[str, int]
    """Numbers of answers by node."""
    batch: float | None
    """Mean size of the batches that the answers were made in."""
    unbatched: int
    """Answers without one: the node had made them before, or their task needs none."""
    queue_ms: float | None
    """Median of the milliseconds that answers waited in a node's queue."""


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """Return the smallest value that so many percent of all aren't above (nearest rank)."""
    if not ordered:
        return None
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _median(values: Iterable[float | None]) -> float | None:
    return percentile(sorted(value for value in values if value is not None), 50)
