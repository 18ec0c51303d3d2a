"""Measuring in quiet moments: it comes to its end, and nobody waits for it."""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from batch_kit import Gate, Panic, occupied, until, until_measured
from hearth.batching import BatchQueue, LatencyProfile
from hearth.batching.latency_profile import QUIET_SECONDS, QUIET_SHARE, IdleMeasurement
from hearth.errors import OutOfMemory

pytestmark = pytest.mark.timeout(30)

SAMPLE = b"sample"


def measure(queue: BatchQueue, *, largest: int = 4) -> list[LatencyProfile]:
    """Have a queue measured when it may be; the list is for the profile."""
    profiles: list[LatencyProfile] = []
    queue.measure_when_idle(SAMPLE, largest=largest, turn=threading.Lock(), done=profiles.append)
    return profiles


async def test_a_session_that_nobody_asks_comes_to_know_its_speed():
    queue = BatchQueue(list, name="test", max_batch=4)
    profiles = measure(queue)
    assert queue.to_be_measured
    await until_measured(queue)
    [profile] = profiles
    assert list(profile.times) == [1, 2, 4]
    assert queue.profile is None  # it is for others to go by it
    queue.close()


async def test_nothing_is_measured_while_a_batch_runs_or_somebody_waits(gate: Gate):
    queue = BatchQueue(gate, name="test", max_batch=2)
    running = await occupied(queue, gate)
    profiles = measure(queue)
    waiting = [asyncio.create_task(queue.submit(b"%d" % n)) for n in range(3)]
    await until(lambda: queue.statistics().waiting == 3)
    gate.open()
    await asyncio.gather(running, *waiting)
    await until_measured(queue)
    assert profiles
    served = [batch for batch in gate.batches if SAMPLE not in batch]
    assert gate.batches[: len(served)] == served
    queue.close()


async def test_who_comes_while_a_batch_is_measured_is_served_before_the_next_one():
    loop = asyncio.get_running_loop()
    batches: list[bytes] = []
    answered: list[asyncio.Future[bytes]] = []

    def run(items: Sequence[bytes]) -> Sequence[bytes]:
        batches.append(items[0])
        if len(batches) == 1:  # the first that is measured: now somebody comes
            loop.call_soon_threadsafe(
                lambda: answered.append(asyncio.ensure_future(queue.submit(b"item")))
            )
            while not queue.statistics().waiting:
                time.sleep(0)
        return items

    queue: BatchQueue[bytes, bytes] = BatchQueue(run, name="test", max_batch=4)
    profiles = measure(queue)
    await until(lambda: bool(answered))
    assert await answered[0] == b"item"
    await until_measured(queue)
    assert profiles and batches[:2] == [SAMPLE, b"item"]
    queue.close()


async def test_a_queue_that_closes_gives_measuring_up(gate: Gate):
    queue = BatchQueue(gate, name="test", max_batch=4)
    profiles = measure(queue)
    await gate.entered()  # the first batch is being measured
    closing = asyncio.create_task(asyncio.to_thread(queue.close))
    await until(lambda: queue._scheduler.closed)
    gate.open()
    await closing
    assert len(gate.batches) == 1 and not profiles


@pytest.mark.parametrize("failure", [OutOfMemory("no memory left"), Panic("no memory left")])
async def test_what_cant_be_measured_is_told_and_serves_on(
    failure: BaseException, caplog: pytest.LogCaptureFixture
):
    def run(items: Sequence[bytes]) -> Sequence[bytes]:
        if SAMPLE in items:
            raise failure
        return items

    queue: BatchQueue[bytes, bytes] = BatchQueue(run, name="poor", max_batch=4)
    with caplog.at_level(logging.WARNING):
        profiles = measure(queue)
        await until_measured(queue)
    assert not profiles and "poor can't be measured: no memory left" in caplog.text
    assert await queue.submit(b"item") == b"item"
    queue.close()


# --- one measurement ------------------------------------------------------------------------


def steps(count: int) -> Iterator[None]:
    yield from [None] * count


def test_two_are_never_measured_at_once():
    turn, ours = threading.Lock(), steps(3)
    measurement = IdleMeasurement(ours, turn, print)
    with turn:
        assert measurement.advance(lambda: False) is None
    assert len(list(ours)) == 3  # none of its steps was done
    assert not turn.locked()


def test_whoever_disturbs_has_it_pause_and_go_on_where_it_was():
    asked = iter([False, False, True])
    ours = steps(5)
    measurement = IdleMeasurement(ours, threading.Lock(), print)
    assert measurement.advance(lambda: next(asked)) is None
    assert len(list(ours)) == 3


def test_a_process_that_works_isnt_quiet():
    measurement = IdleMeasurement(steps(1), threading.Lock(), print)
    measurement.pause()
    assert measurement.was_quiet()
    began = time.process_time()
    while time.process_time() - began < QUIET_SHARE * QUIET_SECONDS:
        sum(range(1000))
    assert not measurement.was_quiet()
