"""A bounded queue in front of a callable, with one thread that owns the callable.

Items wait in two lines, both fair: raw ones for a worker thread that prepares them
(decodes a picture), and ready ones for the owner thread, which takes as many as wait
and run well together, at once. While it runs, the next batch forms by itself, and no
more is prepared ahead than the next batches can use. An item is one future, from the
loop through both threads and back. Where all there is to do is done by the workers, there
is no callable and no owner thread.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar, cast

from hearth.batching.context import NO_CONTEXT, RequestContext, Timings
from hearth.batching.entry import Entry, QueueHandle, as_failure, resolve
from hearth.batching.latency_profile import LatencyProfile, measured
from hearth.batching.linger import BatchWindow, WindowState, adaptive_window
from hearth.batching.lobby import Lobby
from hearth.batching.pace import Pace
from hearth.batching.poison import attempt
from hearth.batching.preparation import Preparation
from hearth.batching.statistics import QueueMetrics, QueueStatistics
from hearth.batching.workers import Job, Workers

Item = TypeVar("Item")
Raw = TypeVar("Raw")
Answer = TypeVar("Answer")

log = logging.getLogger(__name__)


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
    batches). ``max_delay`` seconds bound what ``linger`` waits for company.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Answer | BaseException]] | None,
        *,
        name: str,
        max_batch: int,
        capacity: int = 1024,
        sizes: Sequence[int] = (),
        max_delay: float = 0.01,
        linger: BatchWindow = adaptive_window,
        workers: Workers | None = None,
        ahead: int | None = None,
    ) -> None:
        self.name = name
        self.capacity = capacity
        self._run = run
        self._linger = linger
        self._max_delay = max_delay
        self._changed = threading.Condition()
        self._pace = Pace(max_batch, sizes)
        self._counts = QueueMetrics()
        self._lobby = Lobby(
            name, capacity=capacity, ahead=ahead, pace=self._pace, counts=self._counts
        )
        self._measuring: deque[tuple[Entry, Job]] = deque()
        self._running = self._expected = 0
        self._preparation = (
            None
            if workers is None
            else Preparation(
                name,
                workers,
                self._lobby,
                self._counts,
                self._changed,
                is_all=run is None,
            )
        )
        self._owner: threading.Thread | None = None
        if run is not None:
            self._owner = threading.Thread(target=self._serve, name=f"batch-{name}", daemon=True)
            self._owner.start()

    @property
    def max_batch(self) -> int:
        """The largest batch that is formed now."""
        return self._pace.max_batch

    @property
    def profile(self) -> LatencyProfile | None:
        """What was measured of ``run``, if anything was."""
        return self._pace.profile

    async def submit(
        self,
        item: Item,
        *,
        key: Hashable = None,
        context: RequestContext = NO_CONTEXT,
        handle: QueueHandle | None = None,
    ) -> Answer:
        """The answer to one item that is ready to run.

        Only items with equal keys share a batch. Raises Overloaded where the queue
        is full, DeadlinePassed where the answer can't be had in time, NotReady where
        the queue is closed, and what ``run`` raised for this item: a HearthError as it
        is, anything else as ModelFailed.
        """
        self._require_run()
        entry = Entry(item, key, context, asyncio.get_running_loop())
        self._enter([entry], handle)
        return cast(Answer, await self._answer(entry))

    async def submit_raw(
        self,
        payload: Raw,
        prepare: Callable[[Raw], Item],
        *,
        context: RequestContext = NO_CONTEXT,
        handle: QueueHandle | None = None,
    ) -> Answer:
        """The answer to an item that ``prepare`` makes first, in a worker thread.

        Raises as ``submit`` does, and what ``prepare`` raises.
        """
        entry = Entry(payload, None, context, asyncio.get_running_loop(), prepare)
        self._enter_raw(entry, handle)
        return cast(Answer, await self._answer(entry))

    @asynccontextmanager
    async def passing(
        self,
        payload: Raw,
        prepare: Callable[[Raw], Item],
        *,
        context: RequestContext = NO_CONTEXT,
        handle: QueueHandle | None = None,
    ) -> AsyncIterator[Answer]:
        """As ``submit_raw``, for an answer that has a next stage: the block.

        Until the block ends the item counts as one prepared in advance: where the next
        stage is behind, nothing more is prepared for this one.
        """
        entry = Entry(payload, None, context, asyncio.get_running_loop(), prepare)
        entry.passing = True
        self._enter_raw(entry, handle)
        try:
            yield await self._answer(entry)
        finally:
            with self._changed:
                self._lobby.passed(entry)
            self._wake()

    async def submit_all(
        self, items: Sequence[tuple[Item, Hashable]], *, context: RequestContext = NO_CONTEXT
    ) -> list[Answer]:
        """The answers to several items with their keys, in order; accepted or refused as one.

        Where one fails, those that haven't run yet never do.
        """
        self._require_run()
        loop = asyncio.get_running_loop()
        # Each its own, for they wait and run side by side: the slowest counts for all.
        timings = [Timings() for _ in items] if context.timings is not None else []
        contexts = [context._replace(timings=one) for one in timings] or [context] * len(items)
        entries = [
            Entry(item, key, own, loop) for (item, key), own in zip(items, contexts, strict=True)
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
        """Somebody else waits for the same item: let it go on with their turn, if that helps."""
        if handle.entry is not None:
            with self._changed:
                self._lobby.inherit_priority(handle.entry, context)
            self._wake()

    async def measure(self, item: Item, *, largest: int) -> LatencyProfile:
        """Time batches of copies of ``item``, of 1, 2, 4, … up to ``largest``, on the owner thread.

        Where only fixed sizes run, those. Raises what ``run`` raises for a single item.
        """
        self._require_run()
        loop = asyncio.get_running_loop()
        result = Entry(None, None, NO_CONTEXT, loop)
        sizes = self._pace.sizes_to_measure(largest)

        def job() -> None:
            outcome: LatencyProfile | BaseException
            try:
                outcome = measured(lambda size: self._checked([item] * size), sizes)
            except BaseException as error:
                outcome = as_failure(error, self.name)
            resolve([(result, outcome)])

        with self._changed:
            if self._lobby.closed:
                raise self._lobby.closing()
            self._measuring.append((result, job))
            self._changed.notify()
        return cast(LatencyProfile, await self._answer(result))

    def tune(self, profile: LatencyProfile, max_batch: int | None = None) -> None:
        """Form batches by a measured profile: up to ``max_batch``, or to the best size it shows."""
        with self._changed:
            self._pace.tune(profile, max_batch)

    def statistics(self) -> QueueStatistics:
        """A consistent reading, cheap enough for every scrape; from any thread."""
        with self._changed:
            lobby = self._lobby
            return self._counts.reading(
                waiting=lobby.waiting,
                ready=lobby.ready,
                running=self._running,
                capacity=self.capacity,
                max_batch=self.max_batch,
            )

    def close(self) -> None:
        """Refuse what waits, let a running batch finish, and end the owner thread."""
        with self._changed:
            refused = self._lobby.close() + [entry for entry, _ in self._measuring]
            self._measuring.clear()
            self._changed.notify_all()
        if self._preparation is not None:
            self._preparation.leave()
        resolve((entry, self._lobby.closing()) for entry in refused)
        if self._owner is not None and threading.current_thread() is not self._owner:
            self._owner.join()

    # --- on the loop: coming in, and leaving early --------------------------------------------

    def _enter(self, entries: list[Entry], handle: QueueHandle | None = None) -> None:
        if handle is not None:
            [handle.entry] = entries
        with self._changed:
            self._lobby.enter(entries)
            self._changed.notify()

    def _require_run(self) -> None:
        if self._run is None:
            raise TypeError(f"{self.name} has nothing to run: it only prepares")

    def _enter_raw(self, entry: Entry, handle: QueueHandle | None) -> None:
        if self._preparation is None:
            raise TypeError(f"{self.name} has no workers")
        self._enter([entry], handle)
        self._preparation.wake()

    def _wake(self, places: int = 1) -> None:
        """So many more entries may be prepared now."""
        if self._preparation is not None:
            self._preparation.wake(places)

    async def _answer(self, entry: Entry) -> Any:
        try:
            return await entry.future
        except asyncio.CancelledError:
            self._withdraw(entry)
            raise
        except BaseException:
            del entry.future  # it holds the error, whose traceback holds this frame
            raise

    def _withdraw(self, entry: Entry) -> None:
        """Nobody waits for it any more: it leaves its line, and its item is free."""
        with self._changed:
            left = self._lobby.leave(entry)
        if left:
            entry.item = None
            self._wake()
        # Else somebody is at it, and looks at the future afterwards.

    # --- on the owner's thread: running -------------------------------------------------------

    def _serve(self) -> None:
        while (work := self._next_work()) is not None:
            try:
                if callable(work):
                    work()
                elif work:
                    self._serve_batch(work)
            except BaseException as error:  # a fault of ours, for which nobody is to hang
                log.exception("a batch of %s failed in a way that nobody foresaw", self.name)
                failure = as_failure(error, self.name)
                resolve([(entry, failure) for entry in ([] if callable(work) else work)])
            del work  # and its items, while waiting for the next

    def _next_work(self) -> Job | list[Entry] | None:
        """A measurement, a batch (empty where all of it was dead), or None: closed."""
        with self._changed:
            self._wait()
            if self._lobby.closed:
                return None
            if self._measuring:
                return self._measuring.popleft()[1]
            ready = self._lobby.ready
            batch = self._lobby.batch(time.monotonic())
            left = ready - self._lobby.ready  # the batch, and the dead
            self._running = len(batch)
            late = self._lobby.take_late()
        resolve(late)
        self._wake(left)
        return batch

    def _wait(self) -> None:
        """Until there is something to do, and no company to wait for."""
        while not self._lobby.closed and not self._measuring:
            if not self._lobby.ready:
                self._changed.wait()
                continue
            left = self._linger(self._moment()) - time.monotonic()
            if left <= 0:
                return
            self._changed.wait(min(left, 1.0))  # and asks again

    def _moment(self) -> WindowState:
        return WindowState(
            self._pace.free_since,
            self._lobby.eldest(),
            self._lobby.ready,
            self._expected,
            self._pace.limit(self._expected),
            self.profile,
            self._max_delay,
        )

    def _serve_batch(self, batch: list[Entry]) -> None:
        assert self._run is not None
        began = time.monotonic()
        outcome = attempt(self._run, [entry.item for entry in batch])
        ended = time.monotonic()
        answers = [
            as_failure(answer, self.name) if isinstance(answer, BaseException) else answer
            for answer in outcome.answers
        ]
        for entry in batch:
            entry.ran(ended - began, len(batch))
        with self._changed:
            self._counts.note(batch, answers, outcome.runs, ended - began)
            self._pace.note(len(batch), began, ended, outcome)
            if outcome.fits is not None:
                self._shrink(outcome.fits)
            self._running = 0
            self._expected = len(batch) + self._lobby.waiting
        resolve(zip(batch, answers, strict=True))

    def _shrink(self, fits: int) -> None:
        if self._pace.shrink(fits):
            self._counts.shrunk += 1
            log.warning(
                "%s ran out of memory: batches of at most %d now", self.name, self.max_batch
            )

    def _checked(self, items: Sequence[Item]) -> None:
        """A run for its time alone: what it can't do is an error here as well."""
        if self._lobby.closed:
            raise self._lobby.closing()
        assert self._run is not None
        for answer in self._run(items):
            if isinstance(answer, BaseException):
                raise answer
