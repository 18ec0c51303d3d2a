"""Policies of a queue: sizes of batches, their times, and waiting for company."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hearth.batching.isolate_failures import BatchOutcome, FailureRate
from hearth.batching.latency_profile import LatencyProfile

_COMPANY = 1.25
"""Factor by which bulk that fills up a batch of interactive items may make it longer."""
_SMOOTHING = 0.2
_LONGEST_GAP = 0.001
"""Seconds from one batch to the next: who took longer waited for a processor, and not for us. 0.03
to 0.12 ms were measured for 1 to 16 items, where all CPU of a batch beyond its run and its items
came to 0.1 to 0.3 ms (a model of 1 ms, on one core)."""
_ITEM_SHARE = 1 / 8
"""Part that an item adds to that time, of what it is for any batch: 0.025 ms and 0.004 for each
item with a model that sleeps, 0.045 and 0.01 with one that takes the core."""
_STALE_OVERHEAD = 0.25
"""Share by which the cost of a batch beside its run may change before sizes are chosen anew."""
_FRESH_SECONDS = 1.0
"""Seconds after a batch for which the time of the next one can be foretold."""


class WindowState(NamedTuple):
    """A free session with entries that wait. Times are of one clock, in seconds."""

    free_since: float
    eldest: Callable[[], float]
    """Callback that tells since when the first of them waits."""
    waiting: int
    """Entries that are ready to run."""
    expected: int
    """The size of the last batch and all who waited when it ended."""
    limit: int
    """The largest batch."""
    profile: LatencyProfile | None
    max_delay: float


BatchWindow = Callable[[WindowState], float]
"""Callback that tells until when to wait for more; a time that has passed means: go."""


def adaptive_window(state: WindowState) -> float:
    """Wait for those whom the last round proved to be about, and no longer than it pays.

    A fixed window is the wrong knob: every lone client pays it. The last round tells how
    many are about: those it answered, who may be back in a moment, and those who came
    meanwhile. Waiting for them pays as long as it is shorter than what one larger batch
    saves against two smaller ones.
    """
    aim = min(state.limit, state.expected)
    if state.profile is None or state.waiting >= aim:
        return 0.0
    together = state.profile.seconds(aim)
    apart = state.profile.seconds(state.waiting) + state.profile.seconds(aim - state.waiting)
    # From the moment the session came free: who isn't back by then isn't coming.
    return state.free_since + min(apart - together, state.max_delay)


class BatchSizer:
    """The sizes of one queue's batches; used under its lock.

    ``sizes`` are the only ones that run, ascending; none: any do.
    """

    def __init__(self, max_batch: int, sizes: Sequence[int] = ()) -> None:
        self.profile: LatencyProfile | None = None
        self.free_since = 0.0
        """Moment when the last batch ended, on the clock of ``time.monotonic()``."""
        self._sizes = tuple(sizes)
        self.max_batch = max_batch
        """The largest batch, memory considered."""
        self._fits: int | None = None
        self.overhead = 0.0
        """Seconds that a batch costs beside its run, whatever its size, lately; 0 while nothing is
        known. The owner's part is seen: from the end of one to the beginning of the next, where
        entries were ready all the while. The loop's (it is woken, and hands the answers on)
        counts as much again."""
        self._overhead_heeded = 0.0
        self._wish: int | None = max_batch
        """Largest batch that the user asks for; None: the best one."""
        self._slowness = 1.0
        """Factor by which batches take longer than was measured, lately."""
        self._usual: float | None = None
        """Seconds of a batch, lately."""
        self._failures = FailureRate()
        self._firsts: list[int] = []
        self._plan()

    def tune(self, profile: LatencyProfile, max_batch: int | None) -> None:
        """Go by a profile: up to ``max_batch``, or to the best size it shows."""
        self.profile, self._wish = profile, max_batch
        self._plan()

    def shrink(self, fits: int) -> bool:
        """Heed that memory is enough for so many; whether that makes a difference."""
        before = self.max_batch
        self._fits = self._runnable(max(1, fits))
        self._plan()
        return self.max_batch < before

    def note(
        self, size: int, began: float, ended: float, outcome: BatchOutcome[Any], *, at_once: bool
    ) -> None:
        """Learn from a batch that is done; ``at_once``: it was ready when the last one ended."""
        if at_once:
            gap = min(began - self.free_since, _LONGEST_GAP)
            seen = 2 * gap / (1 + _ITEM_SHARE * size)
            self.overhead += (_SMOOTHING if self.overhead else 1.0) * (seen - self.overhead)
            if abs(self.overhead - self._overhead_heeded) > _STALE_OVERHEAD * self._overhead_heeded:
                self._plan()
        self.free_since = ended
        seconds = ended - began
        if outcome.culprits or self._failures.rate:
            self._failures.note(size, outcome.culprits)
        if outcome.runs == 1:
            # One batch that took a hundred times as long tells of a hiccup: it counts as two.
            usual = self._usual or seconds
            self._usual = usual + _SMOOTHING * (min(seconds, 2 * usual) - usual)
            if self.profile is not None:
                ratio = seconds / self.profile.seconds(self._padded(size) if self._sizes else size)
                self._slowness += _SMOOTHING * (min(ratio, 2 * self._slowness) - self._slowness)

    def limit(self, waiting: int) -> int:
        """Return how many of those that wait to take now."""
        if self._firsts:
            return self._firsts[min(waiting, len(self._firsts) - 1)]
        if not self._failures.rate:
            return self.max_batch
        return self._failures.limit(self.max_batch, self.profile.seconds if self.profile else float)

    def company(self, interactive: int) -> int:
        """Return to which size ``interactive`` items may be filled up with others."""
        if self.profile is None:
            return interactive
        bearable = _COMPANY * self.profile.seconds(self._padded(interactive))
        size = interactive
        while size < self.max_batch and self.profile.seconds(self._padded(size + 1)) <= bearable:
            size += 1
        return size

    def forecast(self, size: int, now: float) -> float:
        """Return how long a batch would take now; 0 where nothing is known, or nothing of late.

        An old forecast may be far too long. Were it believed, requests in a hurry would
        be refused for ever, and no batch would run to correct it.
        """
        if now - self.free_since > _FRESH_SECONDS:
            return 0.0
        if self.profile is None:
            return self._usual or 0.0
        return self.profile.seconds(self._padded(size)) * self._slowness

    def retry_after(self, waiting: int) -> float:
        """Return the seconds after which a full queue is likely to have room: half of it done."""
        batch = self._usual or 0.05
        return min(max(batch * waiting / self.max_batch / 2, 0.05), 30.0)

    def sizes_to_measure(self, largest: int) -> list[int]:
        """Return 1, 2, 4, … and ``largest`` itself; or the fixed sizes."""
        if self._sizes:
            return [size for size in self._sizes if size <= largest] or list(self._sizes[:1])
        sizes = [1]
        while 2 * sizes[-1] < largest:
            sizes.append(2 * sizes[-1])
        return sizes if largest <= 1 else [*sizes, largest]

    def _plan(self) -> None:
        """Know the largest batch, and of fixed sizes the one to run first, however many wait."""
        profile, overhead = self.profile, self.overhead
        self._overhead_heeded = overhead
        if self._wish is not None or profile is None:
            wanted = self._runnable(self._wish or self.max_batch)
        else:
            wanted = self._runnable(profile.best(overhead))
        self.max_batch = wanted if self._fits is None else min(wanted, self._fits)
        if self._sizes:
            sizes = [size for size in self._sizes if size <= self.max_batch] or self._sizes[:1]
            seconds = None if profile is None else lambda size: profile.seconds(size) + overhead
            self._firsts = first_sizes(sizes, seconds)

    def _padded(self, size: int) -> int:
        if not self._sizes:
            return size
        return next((known for known in self._sizes if known >= size), size)

    def _runnable(self, wanted: int) -> int:
        if not self._sizes:
            return wanted
        return max((size for size in self._sizes if size <= wanted), default=self._sizes[0])


def first_sizes(sizes: Sequence[int], seconds: Callable[[int], float] | None) -> list[int]:
    """List the size of the batch to run first, by how many items wait: 0 to the largest size.

    It is the largest of the plan that serves them all at the least cost, because the rest
    may have grown by the time it is done. Cost is the time of all batches, or, while
    nothing is measured, the rows that they have in all (so the least padding), then their
    number. ``sizes`` ascend.
    """
    costs: list[tuple[float, int]] = [(0.0, 0)]
    firsts = [0]
    for waiting in range(1, sizes[-1] + 1):
        options = []
        for size in sizes:
            rest = max(waiting - size, 0)
            cost, runs = costs[rest]
            own = float(size) if seconds is None else seconds(size)
            options.append((cost + own, runs + 1, max(size, firsts[rest])))
        cost, runs, first = min(options)
        costs.append((cost, runs))
        firsts.append(first)
    return firsts
