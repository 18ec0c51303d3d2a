"""Order of the entries that wait in a queue: which of them may go on next.

No threads and no locks: the lock of its ``BatchQueue`` is held around every call.
"""

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any

from hearth.batching.batch_policy import BatchSizer
from hearth.batching.context import QueueEntry, RequestContext
from hearth.batching.fair_queue import FairQueue
from hearth.batching.limit import Limit
from hearth.batching.statistics import QueueMetrics
from hearth.errors import DeadlinePassed, NotReady, Overloaded

_DELIVERY_SECONDS = 0.02
"""Seconds from the end of a batch until the client has its answer, on a node under load."""

Late = list[tuple[QueueEntry, Any]]
"""Entries that were dropped because of their deadlines, and what to tell them."""


class Scheduler:
    """Two fair queues, one behind the other: raw entries to be prepared, and ready ones to run.

    At most ``ahead`` entries (by default two batches) are in preparation, ready or passing,
    and up to twice as many for sources that have less than their part of them.
    Exclusive raw entries stand in a queue of their own, for the thread that takes one at a time.
    """

    def __init__(
        self,
        name: str,
        *,
        capacity: Limit,
        ahead: int | None,
        sizer: BatchSizer,
        metrics: QueueMetrics,
    ) -> None:
        self._capacity = capacity
        self.closed = False
        self.raw: FairQueue[QueueEntry] = FairQueue()
        """Entries that wait to be prepared, but for the exclusive ones."""
        self.exclusive: FairQueue[QueueEntry] = FairQueue()
        """Raw entries that wait to be prepared alone."""
        self.ready: FairQueue[QueueEntry] = FairQueue()
        """Entries that only wait for the model."""
        self._name = name
        self._ahead = ahead
        self._sizer = sizer
        self._metrics = metrics
        self._late: Late = []
        self._preparing = 0
        self._passing: set[QueueEntry] = set()
        self._held: dict[Hashable, int] = {}
        """Count by source of entries in preparation, ready or passing."""

    @property
    def waiting(self) -> int:
        """Entries that aren't running, and have no answer."""
        return self.raw.count + self.exclusive.count + self._preparing + self.ready.count

    def enter(self, entries: Sequence[QueueEntry]) -> None:
        """Take entries in, raw or ready; raises NotReady once closed, and Overloaded."""
        if self.closed:
            raise self.closing()
        # A request of many items (the lines of a page) may pass the mark when it
        # comes to a queue with room: it could never be served otherwise.
        if (waiting := self.waiting) >= self._capacity.value:
            self._metrics.refused += len(entries)
            raise Overloaded(
                f"the queue of {self._name} is full ({waiting} waiting)",
                retry_after=self._sizer.retry_after(waiting),
            )
        for entry in entries:
            if entry.prepare is None:
                self._hold(entry)
                self.ready.push(entry)
            else:
                self.raw.push(entry)

    def leave(self, entry: QueueEntry) -> bool:
        """Take out one that nobody waits for any more; False where it is past both queues."""
        if self.ready.remove(entry):
            self._release(entry)
        elif not (self.exclusive if entry.exclusive else self.raw).remove(entry):
            return False
        self._metrics.cancelled += 1
        return True

    def inherit_priority(self, entry: QueueEntry, context: RequestContext) -> None:
        """Let an entry that waits go on with the turn of another request, if that helps.

        It helps where that one is interactive, or its source has fewer entries in the queue.
        """
        for queue in (self.raw, self.exclusive, self.ready):
            sooner = queue.of_source(context.source) < queue.of_source(entry.source)
            overtakes = context.interactive and not entry.interactive
            if not (sooner or overtakes) or not queue.remove(entry):
                continue
            if queue is self.ready:
                self._release(entry)
            if sooner:
                entry.source = context.source
            entry.interactive = entry.interactive or context.interactive
            if queue is self.ready:
                self._hold(entry)
            queue.push(entry)

    def next_raw(self, now: float, *, exclusive: bool) -> tuple[QueueEntry | None, Late]:
        """Take the entry to prepare next; None where none waits, or enough is prepared."""
        queue = self.exclusive if exclusive else self.raw
        entry = None
        if queue.count:
            limit = self._ahead or 2 * self._sizer.max_batch
            ahead = self._preparing + self.ready.count + len(self._passing)
            dead = partial(self._is_dead, now, False)
            if ahead < limit:
                entry = queue.next(None, dead)
            elif ahead < 2 * limit:
                # A source that holds less than its part may have more than the limit.
                part = max(1, limit // (len(self._held) + 1))
                entry = queue.next(partial(self._holds_less, part), dead)
        if entry is not None:
            self._preparing += 1
            self._hold(entry)
            entry.waited += now - entry.since
        late, self._late = self._late, []
        return entry, late

    def make_exclusive(self, entry: QueueEntry) -> bool:
        """Put back what ``next_raw`` gave, to be prepared alone; False where it is too late."""
        self._preparing -= 1
        self._release(entry)
        if not self.closed:
            self.exclusive.push(entry)
        return not self.closed

    def prepared(self, entry: QueueEntry, *, wanted: bool) -> None:
        """Count what ``next_raw`` gave as prepared, and as ready where it is still ``wanted``."""
        self._preparing -= 1
        if wanted:
            self.ready.push(entry)
        else:
            self._release(entry)

    def finish(self, entry: QueueEntry, now: float) -> tuple[bool, Late]:
        """Count what ``next_raw`` gave as done: it needs no run. False where it is too late."""
        self._preparing -= 1
        done = not self._is_dead(now, True, entry)
        if done:
            self._let_go(entry)
        late, self._late = self._late, []
        return done, late

    def next_batch(self, now: float) -> tuple[list[QueueEntry], Late]:
        """Take the entries to run now; empty where none of those that were ready lives."""
        batch = self.ready.take(
            self._sizer.limit(self.ready.count),
            partial(self._is_dead, now, True),
            self._sizer.company,
        )
        for entry in batch:
            self._let_go(entry)
            entry.waited += now - entry.since
        late, self._late = self._late, []
        return batch, late

    def passed(self, entry: QueueEntry) -> None:
        """Let go of a passing entry that is through, wherever it was."""
        if entry in self._passing:
            self._passing.remove(entry)
            self._release(entry)

    def close(self) -> list[QueueEntry]:
        """Let nobody in any more; take out all who wait."""
        self.closed = True
        return self.raw.clear() + self.exclusive.clear() + self.ready.clear()

    def closing(self) -> NotReady:
        """Make the error for those who wait, or come, when the queue is closed."""
        return NotReady(f"{self._name} is closing")

    def _holds_less(self, part: int, entry: QueueEntry) -> bool:
        return self._held.get(entry.source, 0) < part

    def _is_dead(self, now: float, held: bool, entry: QueueEntry) -> bool:
        """Tell whether nobody will be there for the answer."""
        if entry.future.cancelled():
            self._metrics.cancelled += 1
        elif entry.deadline is not None and self._too_late(entry, entry.deadline, now):
            self._metrics.expired += 1
            passed = DeadlinePassed(f"the deadline passes in {self._name}'s queue")
            self._late.append((entry, passed))
        else:
            return False
        if held:
            self._release(entry)
        return True

    def _too_late(self, entry: QueueEntry, deadline: float, now: float) -> bool:
        together = min(1 + self.ready.count, self._sizer.max_batch)
        needed = self._sizer.forecast(together, now)
        # Where there is a backlog, everybody's turn comes shortly before the deadline, and
        # a batch a little slower than usual would be in vain: so a part of the wait is kept.
        slack = min(needed + _DELIVERY_SECONDS, (entry.waited + now - entry.since) / 4)
        return deadline <= now + needed + slack

    def _let_go(self, entry: QueueEntry) -> None:
        if entry.passing:
            self._passing.add(entry)
        else:
            self._release(entry)

    def _hold(self, entry: QueueEntry) -> None:
        self._held[entry.source] = self._held.get(entry.source, 0) + 1

    def _release(self, entry: QueueEntry) -> None:
        held = self._held[entry.source] - 1
        if held:
            self._held[entry.source] = held
        else:
            del self._held[entry.source]
