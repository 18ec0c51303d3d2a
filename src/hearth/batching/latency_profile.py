"""Times of batches by their size: measured once, and asked whenever a batch forms.

Measuring holds nobody up: it goes on only while the process has nothing else to do.
"""

import math
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable, Mapping

from hearth.errors import OutOfMemory

WORTH_IT = 0.03
"""A larger batch counts as better from this gain in throughput on."""

_ROUNDS = 6
_BUDGET_SECONDS = 4.0
"""Seconds of runs for one session: a model that takes longer is measured at fewer sizes, and
less often."""
_LONGEST_RUN = 0.5
"""Seconds: who comes while a batch is measured waits for it, so no longer one is begun. A model
for which that is too short gains little from larger batches."""

QUIET_SECONDS = 1.0
"""Seconds without work in the whole process before anything is measured."""

QUIET_SHARE = 0.2
"""Share of one core up to which a process counts as quiet. Other models and threads that
decode would make a measurement wrong, and would be slowed down by it."""

_BURST_SECONDS = 1.0
"""Seconds of measuring after which is looked anew whether all is quiet."""


class LatencyProfile:
    """Seconds for a batch of each size, from a few measured sizes. Raises ValueError for none."""

    def __init__(self, times: Mapping[int, float]) -> None:
        if not times or any(s < 1 or not 0 < took < math.inf for s, took in times.items()):
            raise ValueError(f"no profile: {dict(times)}")
        self.times: Mapping[int, float] = dict(sorted(times.items()))
        """Measured seconds by batch size, ascending."""
        self._sizes = list(self.times)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LatencyProfile) and self.times == other.times

    def __hash__(self) -> int:
        return hash(tuple(self.times.items()))

    def __repr__(self) -> str:
        return f"LatencyProfile({dict(self.times)})"

    def seconds(self, size: int) -> float:
        """Return the time of a batch of ``size``.

        Between measured sizes it lies on a line, beyond them it grows in proportion. An empty
        batch takes none.
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

    def best(self, overhead: float = 0.0, gain: float = WORTH_IT) -> int:
        """Return the measured size past which throughput gains less than ``gain``.

        ``overhead`` is what a batch costs beside its run, in seconds, whatever its size: many
        small runs have it many times.
        """
        best = self._sizes[0]
        for size in self._sizes[1:]:
            rate = size / (self.times[size] + overhead)
            if rate > (1 + gain) * best / (self.times[best] + overhead):
                best = size
        return best


def measure_latency(
    run: Callable[[int], object],
    sizes: Iterable[int],
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Generator[None, None, LatencyProfile]:
    """Run batches of ascending sizes, one at each step; return the least time of each.

    Goes no further where three sizes in a row brought nothing, where the next would take
    too long, or where memory ends. Raises what ``run`` raises at the first size.
    """
    times: dict[int, float] = {}
    left = _BUDGET_SECONDS

    def time_once(size: int) -> float:
        nonlocal left
        started = clock()
        run(size)
        took = clock() - started
        left -= took
        return took

    for size in sizes:
        if times:
            last = max(times)
            if 4 * times[last] > left or times[last] * size / last > _LONGEST_RUN:
                break
        try:
            times[size] = time_once(size)  # also warms up: engines plan for each shape
            yield
            if 2 * times[size] < left:
                times[size] = min(times[size], time_once(size))
                yield
        except OutOfMemory:
            if not times:
                raise
            break
        if _is_flat(times):
            break
    # Round by round, so that a moment in which the machine is busy spoils no size alone.
    for _ in range(_ROUNDS):
        for size, least in list(times.items()):
            if least < left:
                times[size] = min(least, time_once(size))
                yield
    return LatencyProfile(times)


def _is_flat(times: Mapping[int, float]) -> bool:
    """Tell whether the last three sizes were no better than one before them."""
    sizes = list(times)
    return len(sizes) > 3 and LatencyProfile(times).best() not in sizes[-3:]


class IdleMeasurement:
    """Steps of a measurement, run by the thread that owns the model.

    ``turn`` is shared by all that must not be measured at once. ``done`` is for the profile.
    """

    def __init__(
        self,
        steps: Generator[None, None, LatencyProfile],
        turn: threading.Lock,
        done: Callable[[LatencyProfile], None],
    ) -> None:
        self.done = done
        self._steps = steps
        self._turn = turn
        self._cpu = 0.0

    def pause(self) -> float:
        """Begin to see whether the process is quiet; the seconds that takes."""
        self._cpu = time.process_time()
        return QUIET_SECONDS

    def was_quiet(self) -> bool:
        """Tell whether the process has done next to nothing since ``pause``."""
        return time.process_time() - self._cpu < QUIET_SHARE * QUIET_SECONDS

    def advance(self, disturbed: Callable[[], bool]) -> LatencyProfile | None:
        """Run steps for a while, none once ``disturbed``; the profile once nothing is left to do.

        Raises what the model raises.
        """
        if not self._turn.acquire(blocking=False):
            return None
        try:
            ends = time.monotonic() + _BURST_SECONDS
            while time.monotonic() < ends and not disturbed():
                next(self._steps)
            return None
        except StopIteration as end:
            profile: LatencyProfile = end.value
            return profile
        finally:
            self._turn.release()
