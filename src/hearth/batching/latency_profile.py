"""How long a batch takes, by its size: measured once, and asked whenever a batch forms."""

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping

from hearth.errors import OutOfMemory

WORTH_IT = 0.03
"""A larger batch counts as better from this gain in throughput on."""

HAND_OVER_SECONDS = 0.0005
"""What a batch costs beside its run, whatever its size: changes of threads, and the loop woken
for it. 0.4 to 0.7 ms, measured with a model of 1 ms on one core at batches of 2 and 8."""

_ROUNDS = 6
_BUDGET_SECONDS = 4.0
"""For one session: a model that takes longer is measured at fewer sizes, and less often."""


class LatencyProfile:
    """Seconds for a batch of each size, from a few measured sizes. Raises ValueError for none."""

    def __init__(self, times: Mapping[int, float]) -> None:
        if not times or any(s < 1 or not 0 < took < math.inf for s, took in times.items()):
            raise ValueError(f"no profile: {dict(times)}")
        self.times: Mapping[int, float] = dict(sorted(times.items()))
        self._sizes = list(self.times)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LatencyProfile) and self.times == other.times

    def __hash__(self) -> int:
        return hash(tuple(self.times.items()))

    def __repr__(self) -> str:
        return f"LatencyProfile({dict(self.times)})"

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
        """The measured size past which throughput gains less than ``gain``.

        What a batch costs beside its run counts as well: many small runs have it many times.
        """
        best = self._sizes[0]
        for size in self._sizes[1:]:
            if self._rate(size) > (1 + gain) * self._rate(best):
                best = size
        return best

    def _rate(self, size: int) -> float:
        """Items a second in batches of a measured size."""
        return size / (self.times[size] + HAND_OVER_SECONDS)


def measured(
    run: Callable[[int], object],
    sizes: Iterable[int],
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> LatencyProfile:
    """Run batches of ascending sizes and note the least time of each.

    Goes no further where three sizes in a row brought nothing, where the next would take
    too long, or where memory ends. Raises what ``run`` raises at the first size.
    """
    times: dict[int, float] = {}
    ends = clock() + _BUDGET_SECONDS

    def time_once(size: int) -> float:
        started = clock()
        run(size)
        return clock() - started

    for size in sizes:
        if times and 4 * max(times.values()) > ends - clock():
            break
        try:
            first = time_once(size)  # also warms up: engines plan for each shape
            times[size] = min(first, time_once(size)) if 2 * first < ends - clock() else first
        except OutOfMemory:
            if not times:
                raise
            break
        if _flat(times):
            break
    # Round by round, so that a moment in which the machine is busy spoils no size alone.
    for _ in range(_ROUNDS):
        for size, least in list(times.items()):
            if clock() + least < ends:
                times[size] = min(least, time_once(size))
    return LatencyProfile(times)


def _flat(times: Mapping[int, float]) -> bool:
    """Whether the last three sizes were no better than one before them."""
    sizes = list(times)
    return len(sizes) > 3 and LatencyProfile(times).best() not in sizes[-3:]
