"""A bounded queue in front of a callable, with one thread that owns the callable.

The queue knows items and a callable that turns a batch of items into as many
answers. A free owner takes what waits, at once; while it runs, the next batch
forms by itself. Items are coroutine-side, the callable is thread-side, and the
hand-over back to the loop is one call for a whole batch.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, NamedTuple, TypeVar

from hearth.errors import DeadlinePassed, HearthError, ModelFailed, NotReady, Overloaded

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Ticket(NamedTuple):
    """What travels with an item beside the item."""

    deadline: float | None = None
    """On the clock of ``time.monotonic()``; None: no hurry."""


NO_HURRY = Ticket()


class QueueStatistics(NamedTuple):
    """A queue at one moment; counts are since it was made."""

    waiting: int
    running: int
    capacity: int
    max_batch: int
    items: int
    batches: int
    failed: int
    expired: int


class _Waiting(NamedTuple, Generic[Item, Answer]):
    item: Item
    key: Hashable
    deadline: float | None
    future: "asyncio.Future[Answer]"
    loop: asyncio.AbstractEventLoop


class BatchQueue(Generic[Item, Answer]):
    """Batches items for ``run``, which is only ever called on the queue's own thread.

    ``run`` takes 1 to ``max_batch`` items that share a key, and returns one answer
    for each, in order. Where it fails on several items, halves of the batch are
    tried, until the culprit stands alone and the others have their answers.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Answer]],
        *,
        name: str,
        max_batch: int,
        capacity: int = 1024,
    ) -> None:
        self.name = name
        self.max_batch = max_batch
        self.capacity = capacity
        self._run = run
        self._waiting: deque[_Waiting[Item, Answer]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._running = self._items = self._batches = self._failed = self._expired = 0
        self._owner = threading.Thread(target=self._serve, name=f"batch-{name}", daemon=True)
        self._owner.start()

    async def submit(
        self, item: Item, *, key: Hashable = None, ticket: Ticket = NO_HURRY
    ) -> Answer:
        """The answer to one item.

        Only items with equal keys share a batch. Raises Overloaded where the queue
        is full, DeadlinePassed where the deadline passes before the item's turn,
        NotReady where the queue is closed, and what ``run`` raised for this item:
        a HearthError as it is, anything else as ModelFailed.
        """
        [future] = self._enqueue([(item, key)], ticket)
        return await future

    async def submit_all(
        self, items: Sequence[tuple[Item, Hashable]], *, ticket: Ticket = NO_HURRY
    ) -> list[Answer]:
        """The answers to several items with their keys, in order; accepted or refused as one."""
        return list(await asyncio.gather(*self._enqueue(items, ticket)))

    def statistics(self) -> QueueStatistics:
        """A consistent reading, cheap enough for every scrape."""
        with self._changed:
            return QueueStatistics(
                len(self._waiting),
                self._running,
                self.capacity,
                self.max_batch,
                self._items,
                self._batches,
                self._failed,
                self._expired,
            )

    def close(self) -> None:
        """Refuse what waits, let a running batch finish, and end the owner thread."""
        with self._changed:
            self._closed = True
            refused = list(self._waiting)
            self._waiting.clear()
            self._changed.notify()
        self._resolve([(entry, NotReady(f"{self.name} is closing")) for entry in refused])
        if threading.current_thread() is not self._owner:
            self._owner.join()

    def _enqueue(
        self, items: Sequence[tuple[Item, Hashable]], ticket: Ticket
    ) -> "list[asyncio.Future[Answer]]":
        loop = asyncio.get_running_loop()
        entries = [
            _Waiting(item, key, ticket.deadline, loop.create_future(), loop) for item, key in items
        ]
        with self._changed:
            if self._closed:
                raise NotReady(f"{self.name} is closed")
            # A request of many items (the lines of a page) may pass the mark when it
            # comes to a queue with room: it could never be served otherwise.
            if len(self._waiting) >= self.capacity:
                self._drop_dead()
            if len(self._waiting) >= self.capacity:
                raise Overloaded(f"the queue of {self.name} is full ({self.capacity} waiting)")
            self._waiting.extend(entries)
            self._changed.notify()
        return [entry.future for entry in entries]

    def _drop_dead(self) -> None:
        """Make room: those who were cancelled no longer wait for anything."""
        living = [entry for entry in self._waiting if not entry.future.cancelled()]
        self._waiting.clear()
        self._waiting.extend(living)

    def _serve(self) -> None:
        while batch := self._take():
            outcomes = self._attempt(batch)
            with self._changed:
                self._running = 0
                self._items += len(batch)
                self._failed += sum(isinstance(answer, Exception) for _, answer in outcomes)
            self._resolve(outcomes)

    def _take(self) -> list[_Waiting[Item, Answer]]:
        """The next batch; empty when the queue has closed."""
        with self._changed:
            while True:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                batch = self._pick()
                if batch or self._closed:
                    self._running = len(batch)
                    return batch

    def _pick(self) -> list[_Waiting[Item, Answer]]:
        """Take the eldest item and those of its key; leave the rest in their order."""
        now = time.monotonic()
        batch: list[_Waiting[Item, Answer]] = []
        late: list[tuple[_Waiting[Item, Answer], Exception]] = []
        others: list[_Waiting[Item, Answer]] = []
        while self._waiting and len(batch) < self.max_batch:
            entry = self._waiting.popleft()
            if entry.future.cancelled():
                continue
            if entry.deadline is not None and entry.deadline <= now:
                late.append((entry, DeadlinePassed(f"the deadline passed in {self.name}'s queue")))
            elif batch and entry.key != batch[0].key:
                others.append(entry)
            else:
                batch.append(entry)
        self._waiting.extendleft(reversed(others))
        self._expired += len(late)
        self._resolve(late)
        return batch

    def _attempt(
        self, batch: list[_Waiting[Item, Answer]]
    ) -> "list[tuple[_Waiting[Item, Answer], Answer | Exception]]":
        self._batches += 1
        try:
            answers = self._run([entry.item for entry in batch])
            if len(answers) != len(batch):
                raise ModelFailed(f"{self.name} gave {len(answers)} answers to {len(batch)} items")
            return list(zip(batch, answers, strict=True))
        except BaseException as error:  # also a panic in a native library: the owner lives on
            if len(batch) > 1:
                middle = len(batch) // 2
                return self._attempt(batch[:middle]) + self._attempt(batch[middle:])
            if not isinstance(error, HearthError):
                failure = ModelFailed(f"{self.name} failed: {error or type(error).__name__}")
                failure.__cause__ = error
                return [(batch[0], failure)]
            return [(batch[0], error)]

    @staticmethod
    def _resolve(
        outcomes: "Sequence[tuple[_Waiting[Item, Answer], Answer | Exception]]",
    ) -> None:
        """Hand outcomes to their loops, one call for each loop."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Answer], object]]] = {}
        for entry, outcome in outcomes:
            by_loop.setdefault(entry.loop, []).append((entry.future, outcome))
        for loop, pairs in by_loop.items():
            # A loop that has closed since has nobody left who waits.
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle, pairs)


def _settle(pairs: "list[tuple[asyncio.Future[Answer], object]]") -> None:
    for future, outcome in pairs:
        if future.done():
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)  # type: ignore[arg-type]
