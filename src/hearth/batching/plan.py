"""Which batch size to run next, where a session knows a few sizes only."""

from collections.abc import Callable, Sequence


def first_sizes(sizes: Sequence[int], seconds: Callable[[int], float] | None) -> list[int]:
    """By how many items wait, from 0 to the largest size: the size of the batch to run first.

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
