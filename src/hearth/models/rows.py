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

    __slots__ = ("array", "rows", "slot")

    def __init__(self, array: Array, rows: "Slab | None" = None, slot: int = 0) -> None:
        self.array = array
        self.rows = rows
        """Whose slab it is a part of; None where it stands alone."""
        self.slot = slot
        """Its index in the slab."""

    def __del__(self) -> None:
        # Runs in any thread, at any moment, so it takes no lock: to store one byte needs none.
        if self.rows is not None:
            self.rows.free[self.slot] = 1


class Slab:
    """A slab of ``count`` rows of one shape and dtype; any number of threads may take them.

    A row comes back by itself when nobody holds it any more.
    """

    def __init__(self, count: int, shape: Sequence[int], dtype: DTypeLike) -> None:
        self.slab: Array = np.zeros((count, *shape), dtype)
        self.free = bytearray(b"\1" * count)
        """A byte for each row: 1 where nobody holds it."""
        self._next = 0
        self._lock = threading.Lock()

    def take(self) -> BatchRow:
        """A row to write into, its content whatever it held; never waits.

        Where the slab is used up the row has memory of its own.
        """
        with self._lock:
            slot = self._find()
            if slot >= 0:
                self.free[slot] = 0
                self._next = slot + 1
        if slot < 0:
            return BatchRow(np.empty(self.slab.shape[1:], self.slab.dtype))
        return BatchRow(self.slab[slot], self, slot)

    def _find(self) -> int:
        """The next free row, round and round; from the start again where all are free."""
        if 0 not in self.free:
            # A lone client's pictures stay in the same few pages of memory.
            return 0 if self.free else -1
        slot = self.free.find(1, self._next)
        return slot if slot >= 0 else self.free.find(1)


class StackedBatch(NamedTuple):
    """Items in one array; good until the same BatchBuilder's next batch, or an item's end."""

    array: Array
    """(size, …)"""
    places: Sequence[int]
    """Where each item is in ``array``, in the order of the items."""


class BatchBuilder:
    """Makes batches of items; belongs to one thread."""

    def __init__(self) -> None:
        self._buffer: Array = np.empty(0)

    def stack(self, items: Sequence[BatchRow | Array], size: int) -> StackedBatch:
        """At least one item as a batch of ``size``, which is no smaller than their number.

        Rows that lie next to each other, in whatever order, stay where they are; anything
        else is copied once. All are of one shape and dtype. What fills a larger batch up
        is any item's numbers.
        """
        return _in_place(items, size) or self._copied(items, size)

    def _copied(self, items: Sequence[BatchRow | Array], size: int) -> StackedBatch:
        arrays = [item.array if isinstance(item, BatchRow) else item for item in items]
        batch = self._room(size, arrays[0])
        np.stack(arrays, out=batch[: len(arrays)])
        batch[len(arrays) :] = arrays[-1]
        return StackedBatch(batch, range(len(arrays)))

    def _room(self, size: int, sample: Array) -> Array:
        """A part of a buffer that lasts, for ``size`` items like the sample."""
        kept = self._buffer
        if kept.dtype != sample.dtype or kept.shape[1:] != sample.shape or len(kept) < size:
            self._buffer = np.empty((size, *sample.shape), sample.dtype)
        return self._buffer[:size]


def _in_place(items: Sequence[BatchRow | Array], size: int) -> StackedBatch | None:
    """The items as a view of the slab, where they lie side by side in one."""
    rows = items[0].rows if isinstance(items[0], BatchRow) else None
    slots = [item.slot for item in items if isinstance(item, BatchRow) and item.rows is rows]
    if rows is None or len(slots) < len(items):
        return None
    # A batch that is filled up runs on into its neighbours, or starts before its items.
    first = min(*slots, len(rows.slab) - size)
    lowest = min(slots)
    if first < 0 or sorted(slots) != list(range(lowest, lowest + len(slots))):
        return None
    return StackedBatch(rows.slab[first : first + size], [slot - first for slot in slots])
