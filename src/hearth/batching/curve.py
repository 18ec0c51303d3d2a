"""How long a batch takes, by its size: measured once, and asked whenever a batch forms."""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping

from hearth.errors import OutOfMemory

WORTH_IT = 0.03
"""A larger batch counts as better from this gain in throughput on."""

_STEADY_SECONDS = 0.03
_MOST_RUNS = 5
_BUDGET_SECONDS = 4.0
"""For one session: a model that takes longer is measured at fewer sizes."""


class Curve:
    """Seconds for a batch of each size, from a few measured sizes. Raises ValueError for none."""

    def __init__(self, times: Mapping[int, float]) -> None:
        if not times or any(size < 1 or not seconds > 0 for size, seconds in times.items()):
            raise ValueError(f"no curve: {dict(times)}")
        self.times: Mapping[int, float] = dict(sorted(times.items()))
        self._sizes = list(self.times)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Curve) and self.times == other.times

    def __hash__(self) -> int:
        return hash(tuple(self.times.items()))

    def __repr__(self) -> str:
        return f"Curve({dict(self.times)})"

    def seconds(self, size: int) -> float:
        """For a batch of ``size``: between measured sizes along a line, beyond in proportion.

        No time for an empty batch.
        """
        if size < 1:
            return 0.0
        last = self._sizes[-1]
        if size >= last:
            return self.times[last] * size / last
        above = bisect_left(self._sizes, size)
        high = self._sizes[above]
        if above == 0:
            return self.times[high]
        low = self._sizes[above - 1]
        share = (size - low) / (high - low)
        return self.times[low] * (1 - share) + self.times[high] * share

    def best(self, gain: float = WORTH_IT) -> int:
        """The measured size past which throughput gains less than ``gain``."""
        best = self._sizes[0]
        for size in self._sizes[1:]:
            if size / self.times[size] > (1 + gain) * best / self.times[best]:
                best = size
        return best


def measured(
    run: Callable[[int], object],
    sizes: Iterable[int],
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Curve:
    """Run batches of ascending sizes and note the least time of each.

    Stops where two sizes in a row brought nothing, where the next would take too long,
    or where memory ends. Raises what ``run`` raises at the first size.
    """
    times: dict[int, float] = {}
    began = clock()
    for size in sizes:
        if times and 4 * max(times.values()) > _BUDGET_SECONDS - (clock() - began):
            break
        try:
            times[size] = _least(lambda size=size: run(size), clock)  # type: ignore[misc]
        except OutOfMemory:
            if not times:
                raise
            break
        if _flat(times):
            break
    return Curve(times)


def _least(run: Callable[[], object], clock: Callable[[], float]) -> float:
    """The least time of a few runs, the first of which only warms up."""
    started = clock()
    run()
    least = first = clock() - started
    spent, runs = 0.0, 0
    while runs < _MOST_RUNS and (runs == 0 or spent < _STEADY_SECONDS):
        if first > _BUDGET_SECONDS / 2:
            break
        started = clock()
        run()
        took = clock() - started
        least = min(least, took)
        spent, runs = spent + took, runs + 1
    return least


def _flat(times: Mapping[int, float]) -> bool:
    """Whether the last two sizes were no better than one before them."""
    sizes = list(times)
    return len(sizes) > 2 and Curve(times).best() not in sizes[-2:]
