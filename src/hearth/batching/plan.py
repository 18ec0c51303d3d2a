"""Which batch size to run next, where a session knows a few sizes only."""

from collections.abc import Callable, Sequence
from functools import cache


def next_size(waiting: int, sizes: Sequence[int], seconds: Callable[[int], float] | None) -> int:
    """The first size of the plan that serves ``waiting`` items at the least cost.

    Cost is the time of all batches, or, while nothing is measured, the rows that they
    have in all (so the least padding), then their number. ``sizes`` ascend. The largest
    batch of the plan goes first: the rest may have grown by the time it is done.
    """
    largest = sizes[-1]
    if waiting >= largest:
        return largest

    @cache
    def plan(left: int) -> tuple[float, int, tuple[int, ...]]:
        if left <= 0:
            return 0.0, 0, ()
        options = []
        for size in sizes:
            cost, runs, rest = plan(left - size)
            own = float(size) if seconds is None else seconds(size)
            options.append((cost + own, runs + 1, (size, *rest)))
        return min(options)

    return max(plan(waiting)[2])
