"""A bounded queue in front of a callable, with one thread that owns the callable.

Items wait in two fair queues: raw ones for a worker thread that prepares them (decodes a
picture), and ready ones for the owner thread, which takes as many as wait and run well
together, at once. While it runs, the next batch forms by itself, and no more is prepared
ahead than the next batches can use. An item is one future, from the loop through both
threads and back. Where all there is to do is done by the workers, there is no callable and
no owner thread.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar, cast

from hearth.batching.batch_policy import BatchSizer, BatchWindow, adaptive_window
from hearth.batching.context import (
    NO_CONTEXT,
    QueueEntry,
    QueueHandle,
    RequestContext,
    Timings,
    resolve,
)
from hearth.batching.latency_profile import LatencyProfile
from hearth.batching.limit import Limit, as_limit
from hearth.batching.preprocess import Preprocessor
from hearth.batching.runner import BatchRunner
from hearth.batching.scheduler import Scheduler
from hearth.batching.statistics import QueueMetrics, QueueStatistics
from hearth.batching.workers import Workers

Item = TypeVar("Item")
Raw = TypeVar("Raw")
Answer = TypeVar("Answer")


class BatchQueue(Generic[Item, Answer]):
    """Batches items for ``run``, which is only ever called on the queue's own thread.

    Where there is no ``run``, what a raw item's preparation gives is its answer, and whoever
    has items that are ready, or would measure, gets a TypeError.

    ``run`` takes items that share a key, and returns one answer for each, in order; an
    exception in an answer's place fails that item alone. Where ``run`` itself fails,
    parts of the batch are tried, until the culprit stands alone.

    At most ``capacity`` items wait. ``max_batch`` is the largest batch until ``tune``
    says otherwise; ``sizes`` are the only ones that run well, ascending (none: any do).
    ``workers`` prepare raw items, at most ``ahead`` of them in advance (by default two
    batches). ``max_delay`` seconds bound what ``window`` waits for company.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Answer | BaseException]] | None,
        *,
        name: str,
        max_batch: int,
        capacity: int | Limit = 1024,
        sizes: Sequence[int] = (),
        max_delay: float = 0.01,
        window: BatchWindow = adaptive_window,
        workers: Workers | None = None,
        ahead: int | None = None,
    ) -> None:
        self.name = name
        self._capacity = as_limit(capacity)
        self._lock = threading.Lock()  # `with` on a lock is C, on a condition Python
        self._changed = threading.Condition(self._lock)
        self._sizer = BatchSizer(max_batch, sizes)
        self._metrics = QueueMetrics()
        self._scheduler = Scheduler(
            name, capacity=self._capacity, ahead=ahead, sizer=self._sizer, metrics=self._metrics
        )
        self._preprocessor = None if workers is None else Preprocessor(
            name,
            workers,
            lock=self._lock,
            scheduler=self._scheduler,
            metrics=self._metrics,
            ready=None if run is None else self._changed.notify,
        )  # fmt: skip
        self._runner = None if run is None else BatchRunner(
            run,
            name=name,
            lock=self._lock,
            changed=self._changed,
            scheduler=self._scheduler,
            sizer=self._sizer,
            metrics=self._metrics,
            window=window,
            max_delay=max_delay,
            freed=self._wake_workers,
        )  # fmt: skip

    @property
    def max_batch(self) -> int:
        """The largest batch that is formed now."""
        return self._sizer.max_batch

    @property
    def profile(self) -> LatencyProfile | None:
        """Measured times of ``run`` by batch size, if anything was measured."""
        return self._sizer.profile

    @property
    def to_be_measured(self) -> bool:
        """Whether a quiet moment is awaited to measure ``run``."""
        return self._runner is not None and self._runner.unmeasured is not None

    async def submit(
        self,
        item: Item,
        *,
        key: Hashable = None,
        context: RequestContext = NO_CONTEXT,
        handle: QueueHandle | None = None,
    ) -> Answer:
        """Return the answer to one item that is ready to run.

        Only items with equal keys share a batch. Raises Overloaded where the queue
        is full, DeadlinePassed where the answer can't be had in time, NotReady where
        the queue is closed, and what ``run`` raised for this item: a HearthError as it
        is, anything else as ModelFailed.
        """
        self._owner()
        entry = QueueEntry(item, key, context, asyncio.get_running_loop())
        return cast(Answer, await self._answer(entry, handle))

    async def submit_raw(
        self,
        payload: Raw,
        prepare: Callable[[Raw], Item],
        *,
        context: RequestContext = NO_CONTEXT,
        handle: QueueHandle | None = None,
    ) -> Answer:
        """Return the answer to an item that ``prepare`` makes first, in a worker thread.

        Raises as ``submit`` does, and what ``prepare`` raises.
        """
        entry = QueueEntry(payload, None, context, asyncio.get_running_loop(), prepare)
        return cast(Answer, await self._answer(entry, handle))

    @asynccontextmanager
    async def passing(
        self,
        payload: Raw,
        prepare: Callable[[Raw], Item],
        *,
        context: RequestContext = NO_CONTEXT,
        handle: QueueHandle | None = None,
    ) -> AsyncIterator[Answer]:
        """Give the answer of ``submit_raw`` to a next stage: the block.

        Until the block ends the item counts as one prepared in advance: where the next
        stage is behind, nothing more is prepared for this one.
        """
        entry = QueueEntry(payload, None, context, asyncio.get_running_loop(), prepare)
        entry.passing = True
        try:
            yield await self._answer(entry, handle)
        finally:
            with self._lock:
                self._scheduler.passed(entry)
            self._wake_workers()

    async def submit_all(
        self, items: Sequence[tuple[Item, Hashable]], *, context: RequestContext = NO_CONTEXT
    ) -> list[Answer]:
        """Return the answers to several items with their keys, in order.

        They are accepted or refused as one. Where one fails, those that haven't run yet never do.
        """
        self._owner()
        loop = asyncio.get_running_loop()
        # Each its own, for they wait and run side by side: the slowest counts for all.
        timings = [Timings() for _ in items] if context.timings is not None else []
        contexts = [context._replace(timings=one) for one in timings] or [context] * len(items)
        entries = [
            QueueEntry(item, key, own, loop)
            for (item, key), own in zip(items, contexts, strict=True)
        ]
        self._enter(entries)
        try:
            answers = list(await asyncio.gather(*(entry.future for entry in entries)))
            if context.timings is not None:
                context.timings.add_slowest(timings)
            return answers
        except BaseException:
            for entry in entries:
                entry.future.cancel()
                self._withdraw(entry)
                del entry
            entries.clear()  # or this frame and the error would hold each other
            raise

    def inherit_priority(self, handle: QueueHandle, context: RequestContext) -> None:
        """Let an item go on with the turn of somebody else who waits for it, if that helps."""
        if handle.entry is not None:
            with self._lock:
                self._scheduler.inherit_priority(handle.entry, context)
            self._wake_workers()

    async def measure(self, item: Item, *, largest: int) -> LatencyProfile:
        """Time batches of copies of ``item``, of 1, 2, 4, … up to ``largest``, at once.

        Where only fixed sizes run, those. Raises what ``run`` raises for a single item.
        """
        runner = self._owner()
        result = QueueEntry(None, None, NO_CONTEXT, asyncio.get_running_loop())
        with self._lock:
            if self._scheduler.closed:
                raise self._scheduler.closing()
            runner.measure(result, item, largest)
        return cast(LatencyProfile, await result.future)

    def measure_when_idle(
        self,
        item: Item,
        *,
        largest: int,
        turn: threading.Lock,
        done: Callable[[LatencyProfile], None],
    ) -> None:
        """Time batches as ``measure`` does, but only while the process has nothing else to do.

        ``turn`` is held while something is measured. ``done`` is called on the owner thread;
        never where the queue is closed before, or measuring fails.
        """
        runner = self._owner()
        with self._lock:
            runner.measure_when_idle(item, largest, turn, done)

    def tune(self, profile: LatencyProfile, max_batch: int | None = None) -> None:
        """Form batches by a profile: up to ``max_batch``, or to the best size it shows."""
        with self._lock:
            self._sizer.tune(profile, max_batch)

    @property
    def capacity(self) -> int:
        """Items that may wait before more are refused."""
        return self._capacity.value

    def statistics(self) -> QueueStatistics:
        """Return a consistent reading, cheap enough for every scrape; from any thread."""
        with self._lock:
            return self._metrics.reading(
                waiting=self._scheduler.waiting,
                ready=self._scheduler.ready.count,
                running=0 if self._runner is None else self._runner.running,
                capacity=self.capacity,
                max_batch=self._sizer.max_batch,
            )

    def close(self) -> None:
        """Refuse what waits, let a running batch finish, and end the owner thread."""
        with self._lock:
            refused = self._scheduler.close()
            if self._runner is not None:
                refused += self._runner.close()
        if self._preprocessor is not None:
            self._preprocessor.leave()
        resolve((entry, self._scheduler.closing()) for entry in refused)
        if self._runner is not None:
            self._runner.join()

    # --- on the loop: coming in, and leaving early --------------------------------------------

    async def _answer(self, entry: QueueEntry, handle: QueueHandle | None) -> Any:
        if entry.prepare is not None and self._preprocessor is None:
            raise TypeError(f"{self.name} has no workers")
        if handle is not None:
            handle.entry = entry
        self._enter([entry])
        try:
            return await entry.future
        except asyncio.CancelledError:
            self._withdraw(entry)
            raise
        except BaseException:
            del entry.future  # it holds the error, whose traceback holds this frame
            raise

    def _enter(self, entries: list[QueueEntry]) -> None:
        """Let entries in, all of them raw or all ready, and wake who is to go on with them."""
        with self._lock:
            self._scheduler.enter(entries)
            ready = bool(entries) and entries[0].prepare is None
            if ready:
                self._changed.notify()
        if not ready and self._preprocessor is not None:
            self._preprocessor.wake()

    def _owner(self) -> BatchRunner:
        if self._runner is None:
            raise TypeError(f"{self.name} has nothing to run: it only prepares")
        return self._runner

    def _wake_workers(self, places: int = 1) -> None:
        """Tell the workers that so many more entries may be prepared now."""
        if self._preprocessor is not None:
            self._preprocessor.wake(places)

    def _withdraw(self, entry: QueueEntry) -> None:
        """Take an entry out that nobody waits for any more, so that its item is free."""
        with self._lock:
            left = self._scheduler.leave(entry)
        if left:
            entry.item = None
            self._wake_workers()
        # Else somebody is at it, and looks at the future afterwards.
