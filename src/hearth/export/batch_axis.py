"""Axis of the batch in a tensor, and where a reshape takes it."""

from math import prod
from typing import NamedTuple

Shape = tuple[int, ...]
"""Sizes of a tensor in a graph whose batch is 1: every one is known."""


class BatchAxis(NamedTuple):
    """The axis that grows with the batch, from ``outer · inner`` to ``outer · n · inner``."""

    axis: int
    outer: int = 1
    inner: int = 1

    @property
    def alone(self) -> bool:
        """Whether the axis is nothing but the batch."""
        return self.outer == self.inner == 1

    def moved(self, axis: int) -> "BatchAxis":
        """Return it on another axis."""
        return self._replace(axis=axis)


FIRST = BatchAxis(0)
"""Axis of the batch in a graph's inputs and outputs."""


def after_reshape(batch: BatchAxis, old: Shape, new: Shape) -> list[BatchAxis]:
    """Find where the batch may be in the new shape, the likeliest first.

    The elements stay in their order, so what is in front of the batch stays in front of it.
    Where the batch is one that tells several axes little: (50, 1, 768) as (50, 768) may mean
    (50 · n, 768) or (50, n · 768). What follows in the graph decides.
    """
    front = prod(old[: batch.axis]) * batch.outer
    candidates = []
    for axis, size in enumerate(new):
        before = prod(new[:axis])
        outer = front // before
        if before * outer == front and outer and size % outer == 0:
            candidates.append(BatchAxis(axis, outer, size // outer))
    # Behind the batch, an axis that is split means heads: the batch goes with them.
    split = len(new) - 1 > 0 and new[-1] != old[-1] and old[-1] % new[-1] == 0

    def unlikely(candidate: BatchAxis) -> tuple[bool, bool, bool]:
        return (
            not candidate.alone,
            candidate.alone and candidate.axis != batch.axis,
            (candidate.outer != 1) is split,
        )

    return sorted(candidates, key=unlikely)
