"""Memory for batches: items are written where their batch will lie.

A decoding thread takes a row of a slab and writes its item there. Rows are handed out one
after another, so items that came together mostly lie together, and the batch is a view of
the slab: nothing is copied, and no memory is asked of the system for each item.
"""

import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from hearth.backends import Array


class BatchRow:
    """One item of a batch, in ``array``, which may be read and written while the row lives.

    The array of a row that is gone will hold another item: keep the row, not the array.
    """

    __slots__ = ("array", "index", "slab")

    def __init__(self, array: Array, slab: "Slab | None" = None, index: int = 0) -> None:
        self.array = array
        self.slab = slab
        """Slab that it is a row of; None where it has memory of its own."""
        self.index = index
        """Place in the slab."""

    def __del__(self) -> None:
        # Runs in any thread, at any moment, so it takes no lock: to store one byte needs none.
        if self.slab is not None:
            self.slab.free[self.index] = 1


class Slab:
    """Memory for ``count`` rows of one shape and dtype; any number of threads may take them.

    A row comes back by itself when nobody holds it any more.
    """

    def __init__(self, count: int, shape: Sequence[int], dtype: DTypeLike) -> None:
        self.array: Array = np.zeros((count, *shape), dtype)
        """All rows: (count, *shape)."""
        self.free = bytearray(b"\1" * count)
        """A byte for each row: 1 where nobody holds it."""
        self._next = 0
        self._lock = threading.Lock()

    def take(self) -> BatchRow:
        """Return a row to write into, its content whatever it held; never waits.

        Where the slab is used up the row has memory of its own.
        """
        free = self.free
        with self._lock:
            if 0 not in free:
                # From the start: a lone client's pictures stay in the same few pages of memory.
                index = 0 if free else -1
            elif (index := free.find(1, self._next)) < 0:
                index = free.find(1)
            if index >= 0:
                free[index] = 0
                self._next = index + 1
        if index < 0:
            return BatchRow(np.empty(self.array.shape[1:], self.array.dtype))
        return BatchRow(self.array[index], self, index)


class StackedBatch(NamedTuple):
    """Items in one array; good until the next batch of the same BatchBuilder, or an item's end."""

    array: Array
    """(size, …)"""
    places: Sequence[int]
    """Index of each item in ``array``, in the order of the items."""


class BatchBuilder:
    """Makes batches of items; belongs to one thread."""

    def __init__(self) -> None:
        self._buffer: Array = np.empty(0)

    def stack(self, items: Sequence[BatchRow | Array], size: int) -> StackedBatch:
        """Return at least one item as a batch of ``size``, which is no smaller than their number.

        Rows that lie next to each other, in whatever order, stay where they are; anything
        else is copied once. All are of one shape and dtype. What fills a larger batch up
        is any item's numbers.
        """
        first = items[0]
        if len(items) == size == 1 and isinstance(first, BatchRow) and first.slab is not None:
            return StackedBatch(first.array[None], (0,))
        return _in_place(items, size) or self._copied(items, size)

    def _copied(self, items: Sequence[BatchRow | Array], size: int) -> StackedBatch:
        arrays = [item.array if isinstance(item, BatchRow) else item for item in items]
        batch = self._room(size, arrays[0])
        np.stack(arrays, out=batch[: len(arrays)])
        batch[len(arrays) :] = arrays[-1]
        return StackedBatch(batch, range(len(arrays)))

    def _room(self, size: int, sample: Array) -> Array:
        """Return a part of a buffer that lasts, for ``size`` items like the sample."""
        buffer = self._buffer
        if buffer.dtype != sample.dtype or buffer.shape[1:] != sample.shape or len(buffer) < size:
            self._buffer = np.empty((size, *sample.shape), sample.dtype)
        return self._buffer[:size]


def _in_place(items: Sequence[BatchRow | Array], size: int) -> StackedBatch | None:
    """Return the items as a view of their slab, where they lie side by side in one."""
    slab = items[0].slab if isinstance(items[0], BatchRow) else None
    rows = [item.index for item in items if isinstance(item, BatchRow) and item.slab is slab]
    if slab is None or len(rows) < len(items):
        return None
    # A batch that is filled up runs on into its neighbours, or starts before its items.
    lowest = min(rows)
    first = min(lowest, len(slab.array) - size)
    if first < 0 or sorted(rows) != list(range(lowest, lowest + len(rows))):
        return None
    return StackedBatch(slab.array[first : first + size], [row - first for row in rows])
