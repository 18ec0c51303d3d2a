"""The thread that owns a queue's callable, and runs batches on it."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any

from hearth.batching.batch_policy import BatchSizer, BatchWindow, WindowState
from hearth.batching.context import QueueEntry, as_failure, resolve
from hearth.batching.isolate_failures import isolate_failures
from hearth.batching.latency_profile import IdleMeasurement, LatencyProfile, measure_latency
from hearth.batching.scheduler import Scheduler
from hearth.batching.statistics import QueueMetrics
from hearth.batching.workers import Job

log = logging.getLogger(__name__)

Steps = Generator[None, None, LatencyProfile]


class BatchRunner:
    """Takes batches from a scheduler and runs them, one at a time, on a thread of its own.

    ``lock`` is the queue's, and ``changed`` its condition, which is notified where there may be
    something to do. ``freed`` is called without the lock, with the number of entries that have
    left the ready ones while others wait to be prepared.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Any]], Sequence[Any]],
        *,
        name: str,
        lock: threading.Lock,
        changed: threading.Condition,
        scheduler: Scheduler,
        sizer: BatchSizer,
        metrics: QueueMetrics,
        window: BatchWindow,
        max_delay: float,
        freed: Callable[[int], None],
    ) -> None:
        self.running = 0
        """Entries in the batch that runs now."""
        self.unmeasured: IdleMeasurement | None = None
        """Measurement that awaits a quiet moment."""
        self._run = run
        self._name = name
        self._lock = lock
        self._changed = changed
        self._scheduler = scheduler
        self._sizer = sizer
        self._metrics = metrics
        self._window = window
        self._max_delay = max_delay
        self._freed = freed
        self._jobs: deque[tuple[QueueEntry, Job]] = deque()
        self._expected = 0
        """Entries of the last batch, and all who waited when it ended."""
        self._at_once = False
        """Whether the next batch was ready when the last one ended."""
        self._thread = threading.Thread(target=self._serve, name=f"batch-{name}", daemon=True)
        self._thread.start()

    def measure(self, result: QueueEntry, item: Any, largest: int) -> None:
        """Have batches of copies of ``item`` timed before the next batch; under the lock."""
        steps = self._steps(item, largest)

        def job() -> None:
            outcome: LatencyProfile | BaseException
            try:
                while True:
                    next(steps)
            except StopIteration as end:
                outcome = end.value
            except BaseException as error:
                outcome = as_failure(error, self._name)
            resolve([(result, outcome)])

        self._jobs.append((result, job))
        self._changed.notify()

    def measure_when_idle(
        self,
        item: Any,
        largest: int,
        turn: threading.Lock,
        done: Callable[[LatencyProfile], None],
    ) -> None:
        """Have batches of copies of ``item`` timed while nothing else is to do; under the lock."""
        if not self._scheduler.closed:
            self.unmeasured = IdleMeasurement(self._steps(item, largest), turn, done)
            self._changed.notify()

    def close(self) -> list[QueueEntry]:
        """Have the thread end, as the scheduler is closed; under the lock.

        Returns the measurements that haven't begun.
        """
        refused = [result for result, _ in self._jobs]
        self._jobs.clear()
        self.unmeasured = None
        self._changed.notify()
        return refused

    def join(self) -> None:
        """Wait until the thread has ended, after ``close``; not under the lock."""
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _steps(self, item: Any, largest: int) -> Steps:
        """Make the steps of a measurement; an answer that is an error is raised as well."""

        def run(size: int) -> None:
            if self._scheduler.closed:
                raise self._scheduler.closing()
            for answer in self._run([item] * size):
                if isinstance(answer, BaseException):
                    raise answer

        return measure_latency(run, self._sizer.sizes_to_measure(largest))

    def _serve(self) -> None:
        while (work := self._next_work()) is not None:
            try:
                if callable(work):
                    work()
                elif work:
                    self._run_batch(work)
            except BaseException as error:  # a fault of ours, for which nobody is to hang
                log.exception("a batch of %s failed in a way that nobody foresaw", self._name)
                failure = as_failure(error, self._name)
                resolve([(entry, failure) for entry in ([] if callable(work) else work)])
            del work  # and its items, while waiting for the next

    def _next_work(self) -> Job | list[QueueEntry] | None:
        """Wait for a job, a batch (empty where all of it was dead), or None: closed."""
        scheduler = self._scheduler
        with self._lock:
            while not self._jobs:
                if scheduler.closed:
                    return None
                if not (ready := scheduler.ready.count):
                    if self.unmeasured is None:
                        self._changed.wait()
                    elif self._is_quiet(self.unmeasured):
                        return self._measure
                    continue
                left = self._window(self._window_state()) - time.monotonic()
                if left <= 0:
                    break
                self._at_once = False
                self._changed.wait(min(left, 1.0))  # and asks again
            else:
                return self._jobs.popleft()[1]
            batch, late = scheduler.next_batch(time.monotonic())
            places = ready - scheduler.ready.count
            self.running = len(batch)
        if late:
            resolve(late)
        if scheduler.raw.count or scheduler.exclusive.count:
            self._freed(places)
        return batch

    def _is_quiet(self, measurement: IdleMeasurement) -> bool:
        """Wait for a change; True where none came in a while, and it is time to measure."""
        disturbed = self._changed.wait(measurement.pause())
        return not disturbed and not self._scheduler.waiting and measurement.was_quiet()

    def _window_state(self) -> WindowState:
        sizer, ready = self._sizer, self._scheduler.ready
        return WindowState(
            sizer.free_since,
            ready.eldest,
            ready.count,
            self._expected,
            sizer.limit(self._expected),
            sizer.profile,
            self._max_delay,
        )

    def _run_batch(self, batch: list[QueueEntry]) -> None:
        size = len(batch)
        began = time.monotonic()
        outcome = isolate_failures(self._run, [entry.item for entry in batch])
        ended = time.monotonic()
        answers = [
            as_failure(answer, self._name) if isinstance(answer, BaseException) else answer
            for answer in outcome.answers
        ]
        for entry in batch:
            entry.add_times(ended - began, size)
        with self._lock:
            self._metrics.note(batch, answers, outcome.runs, ended - began)
            self._sizer.note(size, began, ended, outcome, at_once=self._at_once)
            if outcome.fits is not None and self._sizer.shrink(outcome.fits):
                self._metrics.shrunk += 1
                log.warning("%s ran out of memory: batches of at most %d now",
                            self._name, self._sizer.max_batch)  # fmt: skip
            self.running = 0
            self._at_once = self._scheduler.ready.count > 0
            self._expected = size + self._scheduler.waiting
        resolve(zip(batch, answers, strict=True))

    def _measure(self) -> None:
        """Measure on for a while, until somebody comes or the queue is closed."""
        measurement = self.unmeasured
        if measurement is None:
            return
        try:
            profile = measurement.advance(self._is_disturbed)
            if profile is None:
                return
            measurement.done(profile)
        except BaseException as error:  # also a panic in a native library: it is tried once
            if not self._scheduler.closed:
                log.warning("%s can't be measured: %s", self._name, error)
        with self._lock:
            if self.unmeasured is measurement:  # and not another, asked for meanwhile
                self.unmeasured = None

    def _is_disturbed(self) -> bool:
        return self._scheduler.closed or self._scheduler.waiting > 0
