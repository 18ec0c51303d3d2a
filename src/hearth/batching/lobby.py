"""Who waits in a queue, and who may go on next. No threads and no locks: the queue's lock
is held around every call."""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

from hearth.batching.context import RequestContext
from hearth.batching.entry import Entry
from hearth.batching.line import Line
from hearth.batching.pace import Pace
from hearth.batching.statistics import QueueMetrics
from hearth.errors import DeadlinePassed, NotReady, Overloaded

_DELIVERY_SECONDS = 0.02
"""From the end of a batch until the client has its answer, on a node under load."""


class Lobby:
    """Two lines, one behind the other: raw entries to be prepared, and ready ones to run.

    At most ``ahead`` entries (by default two batches) are in preparation, ready or passing,
    and up to twice as many for sources that have less than their part of them.
    Heavy raw entries stand in a line of their own, for the thread that takes one at a time.
    """

    def __init__(
        self,
        name: str,
        *,
        capacity: int,
        ahead: int | None,
        pace: Pace,
        counts: QueueMetrics,
    ) -> None:
        self.capacity = capacity
        self.closed = False
        self._name = name
        self._ahead = ahead
        self._pace = pace
        self._counts = counts
        self._raw: Line[Entry] = Line()
        self._heavy: Line[Entry] = Line()
        self._ready: Line[Entry] = Line()
        self._late: list[tuple[Entry, Any]] = []
        self._preparing = 0
        self._passing: set[Entry] = set()
        self._held: Counter[Hashable] = Counter()
        """By source: entries in preparation, ready or passing."""

    @property
    def waiting(self) -> int:
        """Entries that aren't running, and have no answer."""
        return len(self._raw) + len(self._heavy) + self._preparing + len(self._ready)

    @property
    def raw(self) -> int:
        """Entries that wait to be prepared, but for the heavy ones."""
        return len(self._raw)

    @property
    def heavy(self) -> int:
        """Raw entries that wait to be prepared alone."""
        return len(self._heavy)

    @property
    def ready(self) -> int:
        """Those that only wait for the model."""
        return len(self._ready)

    def eldest(self) -> float:
        """Since when the ready entry waits whose turn it is; there is one."""
        return self._ready.eldest()

    def enter(self, entries: Sequence[Entry]) -> None:
        """Take entries in, raw or ready; raises NotReady once closed, and Overloaded."""
        if self.closed:
            raise self.closing()
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
        elif not (self._heavy if entry.heavy else self._raw).remove(entry):
            return False
        self._counts.cancelled += 1
        return True

    def inherit_priority(self, entry: Entry, context: RequestContext) -> None:
        """Let an entry that stands in a line go on with another context's turn, if that helps.

        It helps where that context is interactive, or its source has fewer entries in line.
        """
        for line in (self._raw, self._heavy, self._ready):
            own = entry.context
            sooner = line.of_source(context.source) < line.of_source(own.source)
            if not (sooner or (context.interactive and not own.interactive)) or not line.remove(
                entry
            ):
                continue
            if line is self._ready:
                self._release(entry)
            source = context.source if sooner else own.source
            entry.context = own._replace(
                source=source, interactive=own.interactive or context.interactive
            )
            if line is self._ready:
                self._hold(entry)
            line.push(entry)

    def next_raw(self, now: float, *, heavy: bool = False) -> Entry | None:
        """The entry to prepare next; None where none waits, or enough is prepared."""
        line = self._heavy if heavy else self._raw
        if not line or self._ahead_now >= 2 * self._limit:
            return None
        entry = line.next(self._admits, lambda entry: self._dead(entry, now))
        if entry is not None:
            self._preparing += 1
            self._hold(entry)
            entry.leaves(now)
        return entry

    def put_aside(self, entry: Entry) -> bool:
        """What ``next_raw`` gave turned out to be heavy; False where it is too late for it."""
        self._preparing -= 1
        self._release(entry)
        if not self.closed:
            self._heavy.push(entry)
        return not self.closed

    def prepared(self, entry: Entry, *, wanted: bool) -> None:
        """What ``next_raw`` gave has been prepared; it is ready where it is still ``wanted``."""
        self._preparing -= 1
        if wanted:
            self._ready.push(entry)
        else:
            self._release(entry)

    def done(self, entry: Entry, now: float) -> bool:
        """What ``next_raw`` gave needs nothing but that; False where it is too late for it."""
        self._preparing -= 1
        if self._dead(entry, now, held=True):
            return False
        self._goes_on(entry)
        return True

    def batch(self, now: float) -> list[Entry]:
        """The entries to run now; empty where none of those that were ready lives."""
        batch = self._ready.take(
            self._pace.limit(len(self._ready)),
            lambda entry: self._dead(entry, now, held=True),
            self._pace.company,
        )
        for entry in batch:
            self._goes_on(entry)
            entry.leaves(now)
        return batch

    def _goes_on(self, entry: Entry) -> None:
        if entry.passing:
            self._passing.add(entry)
        else:
            self._release(entry)

    def passed(self, entry: Entry) -> None:
        """A passing entry is through, wherever it was."""
        if entry in self._passing:
            self._passing.remove(entry)
            self._release(entry)

    def take_late(self) -> list[tuple[Entry, Any]]:
        """Entries that were dropped because of their deadlines, and what to tell them."""
        late, self._late = self._late, []
        return late

    def close(self) -> list[Entry]:
        """Nobody comes in any more, and who waits has to leave."""
        self.closed = True
        return self._raw.clear() + self._heavy.clear() + self._ready.clear()

    def closing(self) -> NotReady:
        """What those are told."""
        return NotReady(f"{self._name} is closing")

    @property
    def _ahead_now(self) -> int:
        return self._preparing + len(self._ready) + len(self._passing)

    @property
    def _limit(self) -> int:
        return self._ahead or 2 * self._pace.max_batch

    def _admits(self, entry: Entry) -> bool:
        # A source that holds less than its part may have more than the limit, up to twice it.
        part = max(1, self._limit // (len(self._held) + 1))
        return self._ahead_now < self._limit or self._held[entry.source] < part

    def _dead(self, entry: Entry, now: float, *, held: bool = False) -> bool:
        """Whether nobody will be there for the answer."""
        if entry.future.cancelled():
            self._counts.cancelled += 1
        elif self._too_late(entry, now):
            self._counts.expired += 1
            passed = DeadlinePassed(f"the deadline passes in {self._name}'s queue")
            self._late.append((entry, passed))
        else:
            return False
        if held:
            self._release(entry)
        return True

    def _too_late(self, entry: Entry, now: float) -> bool:
        deadline = entry.context.deadline
        if deadline is None:
            return False
        together = min(1 + len(self._ready), self._pace.max_batch)
        needed = self._pace.forecast(together, now)
        # Where there is a backlog, everybody's turn comes shortly before the deadline, and
        # a batch a little slower than usual would be in vain: so a part of the wait is kept.
        slack = min(needed + _DELIVERY_SECONDS, (entry.waited + now - entry.since) / 4)
        return deadline <= now + needed + slack

    def _hold(self, entry: Entry) -> None:
        self._held[entry.source] += 1

    def _release(self, entry: Entry) -> None:
        self._held[entry.source] -= 1
        if not self._held[entry.source]:
            del self._held[entry.source]
