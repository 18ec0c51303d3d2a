"""Where the batch is in a tensor, and where a reshape takes it."""

from math import prod
from typing import NamedTuple

Shape = tuple[int, ...]
"""Of a graph whose batch is 1: every size is known."""


class Spot(NamedTuple):
    """The axis that grows with the batch, from ``outer · inner`` to ``outer · n · inner``."""

    axis: int
    outer: int = 1
    inner: int = 1

    @property
    def alone(self) -> bool:
        """Whether the axis is nothing but the batch."""
        return self.outer == self.inner == 1

    def moved(self, axis: int) -> "Spot":
        """The same on another axis."""
        return self._replace(axis=axis)


FIRST = Spot(0)
"""Where the batch is in a graph's inputs and outputs."""


def after_reshape(spot: Spot, old: Shape, new: Shape) -> list[Spot]:
    """Where the batch may be in the new shape, the likeliest first.

    The elements stay in their order, so what is in front of the batch stays in front of it.
    Where the batch is one that tells several axes little: (50, 1, 768) as (50, 768) may mean
    (50 · n, 768) or (50, n · 768). What follows in the graph decides.
    """
    front = prod(old[: spot.axis]) * spot.outer
    found = []
    for axis, size in enumerate(new):
        before = prod(new[:axis])
        outer = front // before
        if before * outer == front and outer and size % outer == 0:
            found.append(Spot(axis, outer, size // outer))
    # Behind the batch, an axis that is split means heads: the batch goes with them.
    split = len(new) - 1 > 0 and new[-1] != old[-1] and old[-1] % new[-1] == 0

    def unlikely(spot_: Spot) -> tuple[bool, bool, bool]:
        return (
            not spot_.alone,
            spot_.alone and spot_.axis != spot.axis,
            (spot_.outer != 1) is split,
        )

    return sorted(found, key=unlikely)
