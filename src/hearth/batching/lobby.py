"""Who waits in a queue, and who may go on next. No threads and no locks: the queue's lock
is held around every call."""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

from hearth.batching.entry import Entry
from hearth.batching.line import Line
from hearth.batching.pace import Pace
from hearth.batching.statistics import Counts
from hearth.errors import DeadlinePassed, Overloaded


class Lobby:
    """Two lines, one behind the other: raw entries to be prepared, and ready ones to run.

    At most ``ahead`` entries (by default two batches) are in preparation or ready; a
    source that has none of them may have one more all the same.
    """

    def __init__(
        self, name: str, *, capacity: int, ahead: int | None, pace: Pace, counts: Counts
    ) -> None:
        self.capacity = capacity
        self.late: list[tuple[Entry, Any]] = []
        """Entries that were dropped because their deadline passed, and what to tell them."""
        self._name = name
        self._ahead = ahead
        self._pace = pace
        self._counts = counts
        self._raw: Line[Entry] = Line()
        self._ready: Line[Entry] = Line()
        self._preparing = 0
        self._held: Counter[Hashable] = Counter()
        """By source: entries in preparation or ready."""

    @property
    def waiting(self) -> int:
        """Entries that aren't running, and have no answer."""
        return len(self._raw) + self._preparing + len(self._ready)

    @property
    def ready(self) -> int:
        """Those that only wait for the model."""
        return len(self._ready)

    def eldest(self) -> float:
        """Since when the ready entry waits whose turn it is; there is one."""
        return self._ready.eldest()

    def enter(self, entries: Sequence[Entry]) -> None:
        """Take entries in, all of them raw or all of them ready; raises Overloaded."""
        # A request of many items (the lines of a page) may pass the mark when it
        # comes to a queue with room: it could never be served otherwise.
        if self.waiting >= self.capacity:
            self._counts.refused += len(entries)
            raise Overloaded(
                f"the queue of {self._name} is full ({self.waiting} waiting)",
                retry_after=self._pace.patience(self.waiting),
            )
        for entry in entries:
            if entry.prepare is None:
                self._hold(entry)
                self._ready.push(entry)
            else:
                self._raw.push(entry)

    def leave(self, entry: Entry) -> bool:
        """Take one out that nobody waits for any more; False where it is past both lines."""
        if self._ready.remove(entry):
            self._release(entry)
        elif not self._raw.remove(entry):
            return False
        self._counts.cancelled += 1
        return True

    def next_raw(self, now: float) -> Entry | None:
        """The entry to prepare next; None where none waits, or enough is prepared."""
        entry = self._raw.next(self._admits, lambda entry: self._dead(entry, now))
        if entry is not None:
            self._preparing += 1
            self._hold(entry)
            entry.leaves(now)
        return entry

    def prepared(self, entry: Entry, *, wanted: bool) -> None:
        """What ``next_raw`` gave has been prepared; it is ready where it is still ``wanted``."""
        self._preparing -= 1
        if wanted:
            self._ready.push(entry)
        else:
            self._release(entry)

    def batch(self, now: float) -> list[Entry]:
        """The entries to run now; empty where none of those that were ready lives."""
        batch = self._ready.take(
            self._pace.limit(len(self._ready)),
            lambda entry: self._dead(entry, now, held=True),
            self._pace.company,
        )
        for entry in batch:
            self._release(entry)
            entry.leaves(now)
        return batch

    def clear(self) -> list[Entry]:
        """Everybody out."""
        return self._raw.clear() + self._ready.clear()

    def _admits(self, entry: Entry) -> bool:
        ahead = self._preparing + len(self._ready)
        limit = self._ahead or 2 * self._pace.max_batch
        return ahead < limit or (ahead < 2 * limit and not self._held[entry.source])

    def _dead(self, entry: Entry, now: float, *, held: bool = False) -> bool:
        """Whether nobody will be there for the answer."""
        if entry.future.cancelled():
            self._counts.cancelled += 1
        elif self._too_late(entry, now):
            self._counts.expired += 1
            passed = DeadlinePassed(f"the deadline passes in {self._name}'s queue")
            self.late.append((entry, passed))
        else:
            return False
        if held:
            self._release(entry)
        return True

    def _too_late(self, entry: Entry, now: float) -> bool:
        deadline = entry.ticket.deadline
        if deadline is None:
            return False
        together = min(1 + len(self._ready), self._pace.max_batch)
        return deadline <= now + self._pace.forecast(together, now)

    def _hold(self, entry: Entry) -> None:
        self._held[entry.source] += 1

    def _release(self, entry: Entry) -> None:
        self._held[entry.source] -= 1
        if not self._held[entry.source]:
            del self._held[entry.source]
