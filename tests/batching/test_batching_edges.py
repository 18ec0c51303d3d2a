"""Nobody is lost, and nothing is left behind, at the edges of a queue's life."""

import asyncio
import gc
import time
import weakref

import pytest

from batch_kit import until, until_waiting
from hearth.batching import BatchQueue, RequestContext
from hearth.batching.isolate_failures import isolate_failures
from hearth.errors import (
    DeadlinePassed,
    HearthError,
    InvalidInput,
    ModelFailed,
    NotReady,
    OutOfMemory,
)

pytestmark = pytest.mark.timeout(20)


@pytest.fixture
def no_collection():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def until_freed(trace: weakref.ref) -> None:
    """The thread that had it may still be about to let it go; the collector is off."""
    await until(lambda: trace() is None)


class Payload(bytearray):
    """Bytes that a weak reference can follow."""


async def test_when_all_that_was_ready_is_too_late_the_next_are_prepared(gate, workers):
    queue = BatchQueue(gate, name="test", max_batch=2, workers=workers, ahead=2)
    first = asyncio.create_task(queue.submit_raw(b"first", bytes))
    await gate.entered()
    soon = RequestContext(deadline=time.monotonic() + 0.05)
    late = [asyncio.create_task(queue.submit_raw(b"late", bytes, context=soon)) for _ in range(2)]
    await until(lambda: queue.statistics().ready == 2)
    rest = [asyncio.create_task(queue.submit_raw(b"%d" % i, bytes)) for i in range(3)]
    await until_waiting(queue, 5)
    await until(lambda: time.monotonic() >= soon.deadline)
    gate.open()
    assert await first == b"FIRST"
    for task in late:
        with pytest.raises(DeadlinePassed):
            await task
    assert await asyncio.wait_for(asyncio.gather(*rest), 5) == [b"0", b"1", b"2"]
    queue.close()


async def test_a_payload_that_cant_be_prepared_is_freed_at_once(workers, no_collection):
    def decode(payload):
        raise InvalidInput("no picture")

    queue = BatchQueue(list, name="test", max_batch=2, workers=workers)
    payload = Payload(b"x")
    trace = weakref.ref(payload)
    with pytest.raises(InvalidInput):
        await queue.submit_raw(payload, decode)
    del payload
    await until_freed(trace)
    queue.close()


async def test_an_item_that_failed_is_freed_at_once(no_collection):
    def run(batch):
        raise ValueError("no")

    queue = BatchQueue(run, name="test", max_batch=2)
    item = Payload(b"x")
    trace = weakref.ref(item)
    with pytest.raises(ModelFailed):
        await queue.submit(item)
    del item
    await until_freed(trace)
    queue.close()


async def test_even_the_strangest_error_of_a_preparation_arrives(workers):
    def decode(payload):
        return next(iter(()))

    queue = BatchQueue(list, name="test", max_batch=2, workers=workers)
    with pytest.raises(HearthError):
        await asyncio.wait_for(queue.submit_raw(b"x", decode), 5)
    queue.close()


async def test_a_measurement_that_waits_when_the_queue_closes_is_told(gate):
    queue = BatchQueue(gate, name="test", max_batch=2)
    running = asyncio.create_task(queue.submit(b"x"))
    await gate.entered()
    measuring = asyncio.create_task(queue.measure(b"x", largest=2))
    await asyncio.sleep(0)  # it has entered
    closing = asyncio.create_task(asyncio.to_thread(queue.close))
    with pytest.raises(NotReady):
        await asyncio.wait_for(measuring, 5)
    gate.open()
    await closing
    assert await running == b"X"


@pytest.mark.parametrize("size", [2, 3, 5, 8, 13])
@pytest.mark.parametrize("culprits", [(0,), (-1,), (1,), (0, -1), (-2, -1)])
def test_calls_are_counted_as_they_are(size, culprits):
    bad = {culprit % size for culprit in culprits}
    calls = []

    def run(items):
        calls.append(list(items))
        if bad & set(items):
            raise ValueError("poison")
        return list(items)

    outcome = isolate_failures(run, range(size))
    assert outcome.runs == len(calls)
    assert outcome.culprits == len(bad)
    assert [isinstance(answer, Exception) for answer in outcome.answers] == [
        item in bad for item in range(size)
    ]


@pytest.mark.parametrize("room", range(1, 9))
@pytest.mark.parametrize("size", [2, 3, 5, 8])
def test_what_fits_is_the_largest_part_that_was_seen_to_fit(size, room):
    fitted = [0]

    def run(items):
        if len(items) > room:
            raise OutOfMemory("too much")
        fitted.append(len(items))
        return list(items)

    outcome = isolate_failures(run, range(size))
    assert outcome.answers == list(range(size))
    assert outcome.fits == (None if room >= size else max(fitted))


def test_what_ran_out_of_memory_is_let_go_before_the_parts_run(no_collection):
    class Buffer(list):
        pass

    traces = []

    def run(items):
        buffer = Buffer(items)
        alive = sum(trace() is not None for trace in traces)
        assert not alive, "the buffer of a failed run is still held"
        traces.append(weakref.ref(buffer))
        if len(items) > 1:
            raise OutOfMemory("too much")
        return list(buffer)

    assert isolate_failures(run, range(4)).answers == list(range(4))
