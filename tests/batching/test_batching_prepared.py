"""Queues without a callable: an item is done when it is prepared."""

import asyncio
import threading
import time

import pytest

from batch_kit import Gate, until
from hearth.batching import BatchQueue, Exclusive, QueueHandle, RequestContext, Timings, Workers
from hearth.errors import DeadlinePassed, InvalidInput, ModelFailed, NotReady, Overloaded

pytestmark = pytest.mark.timeout(20)


def queue_of(workers, **more):
    return BatchQueue(None, name="prepared", **{"max_batch": 2, "workers": workers, **more})


@pytest.fixture
def one():
    """A single thread that prepares."""
    made = Workers(1)
    yield made
    made.close()


class Door:
    """A preparation that stands still until it is let go; it keeps the order of its payloads."""

    def __init__(self):
        self.gate = Gate()
        self.seen = []

    def __call__(self, payload):
        self.seen.append(payload)
        self.gate([payload])
        return payload.upper()


@pytest.fixture
def door():
    made = Door()
    yield made
    made.gate.open()


async def stopped(queue, door, **how):
    """A queue whose one thread stands in the door."""
    first = asyncio.create_task(queue.submit_raw(b"first", door, **how))
    await door.gate.entered()
    return first


async def test_what_was_prepared_is_the_answer_and_no_thread_is_there_to_run_it(workers):
    before = set(threading.enumerate())  # one of another test may end meanwhile
    queue = queue_of(workers)
    assert len(set(threading.enumerate()) - before) == 3  # two workers, one for heavy items
    assert await queue.submit_raw(b"a", bytes.upper) == b"A"
    async with queue.passing(b"b", bytes.upper) as answer:
        assert answer == b"B"
    statistics = queue.statistics()
    assert (statistics.items, statistics.batches, statistics.waiting) == (2, 0, 0)
    assert sum(statistics.preparations.counts) == sum(statistics.waits.counts) == 2
    assert sum(statistics.batch_sizes.counts) == 0
    queue.close()


async def test_what_is_ready_has_nothing_to_run_it(workers):
    queue = queue_of(workers)
    for asked in (queue.submit(1), queue.submit_all([(1, None)]), queue.measure(1, largest=1)):
        with pytest.raises(TypeError, match="prepared"):
            await asked
    assert queue.statistics().waiting == 0
    queue.close()


async def test_a_failed_preparation_is_told_and_those_after_it_are_done(workers):
    queue = queue_of(workers, ahead=1)

    def prepare(payload):
        if payload == b"bad":
            raise InvalidInput("no picture")
        return 1 // (payload != b"worse")

    asked = [queue.submit_raw(name, prepare) for name in (b"bad", b"worse", b"good", b"good")]
    bad, worse, *good = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(bad, InvalidInput) and isinstance(worse, ModelFailed) and good == [1, 1]
    statistics = queue.statistics()
    assert (statistics.items, statistics.unprepared, statistics.failed) == (2, 2, 0)
    queue.close()


async def test_sources_take_turns_and_the_urgent_go_first(one, door):
    queue = queue_of(one)
    first = await stopped(queue, door)
    told = [(b"a1", "a", False), (b"a2", "a", False), (b"b", "b", False), (b"now", "c", True)]
    rest = [
        asyncio.create_task(
            queue.submit_raw(
                name, door, context=RequestContext(source=source, interactive=interactive)
            )
        )
        for name, source, interactive in told
    ]
    await until(lambda: queue.statistics().waiting == 5)
    door.gate.open()
    assert await asyncio.gather(first, *rest) == [b"FIRST", b"A1", b"A2", b"B", b"NOW"]
    assert door.seen == [b"first", b"now", b"a1", b"b", b"a2"]
    queue.close()


async def test_whoever_else_waits_for_an_item_lends_it_their_turn(one, door):
    queue, handle = queue_of(one), QueueHandle()
    first = await stopped(queue, door)
    bulk = asyncio.create_task(queue.submit_raw(b"bulk", door))
    lent = asyncio.create_task(queue.submit_raw(b"lent", door, handle=handle))
    await until(lambda: queue.statistics().waiting == 3)
    queue.inherit_priority(handle, RequestContext(interactive=True))
    door.gate.open()
    await asyncio.gather(first, bulk, lent)
    assert door.seen == [b"first", b"lent", b"bulk"]
    queue.close()


async def test_a_full_queue_refuses_and_what_was_given_up_is_never_prepared(one, door):
    queue = queue_of(one, capacity=3)
    first = await stopped(queue, door)
    rest = [asyncio.create_task(queue.submit_raw(name, door)) for name in (b"gone", b"kept")]
    await until(lambda: queue.statistics().waiting == 3)
    with pytest.raises(Overloaded):
        await queue.submit_raw(b"more", door)
    rest[0].cancel()
    await until(lambda: queue.statistics().waiting == 2)
    door.gate.open()
    assert await asyncio.gather(first, rest[1]) == [b"FIRST", b"KEPT"]
    assert door.seen == [b"first", b"kept"]
    statistics = queue.statistics()
    assert (statistics.items, statistics.cancelled, statistics.refused) == (2, 1, 1)
    queue.close()


async def test_what_is_given_up_while_it_is_prepared_counts_as_cancelled(one, door):
    queue = queue_of(one, ahead=1)
    first = await stopped(queue, door)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    door.gate.open()
    assert await queue.submit_raw(b"next", door) == b"NEXT"
    statistics = queue.statistics()
    assert (statistics.items, statistics.cancelled, statistics.waiting) == (1, 1, 0)
    queue.close()


async def test_a_deadline_that_passes_in_line_or_in_preparation_is_told(one, door):
    queue = queue_of(one)
    soon = RequestContext(deadline=time.monotonic() + 0.05)
    inside = await stopped(queue, door, context=soon)
    in_line = asyncio.create_task(queue.submit_raw(b"late", door, context=soon))
    after = asyncio.create_task(queue.submit_raw(b"after", door))
    await until(lambda: time.monotonic() >= soon.deadline)
    door.gate.open()
    for task in (inside, in_line):
        with pytest.raises(DeadlinePassed):
            await task
    assert await after == b"AFTER"
    assert door.seen == [b"first", b"after"]
    statistics = queue.statistics()
    assert (statistics.items, statistics.expired) == (1, 2)
    queue.close()


async def test_what_has_a_next_stage_counts_as_prepared_until_it_is_through(workers):
    queue, further_on, entered = queue_of(workers, ahead=2), asyncio.Event(), []

    async def visit(n):
        async with queue.passing(n, int, context=RequestContext(source="a")) as answer:
            entered.append(answer)
            await further_on.wait()

    tasks = [asyncio.create_task(visit(n)) for n in range(6)]
    await until(lambda: len(entered) == 2)
    # A newcomer isn't kept waiting by those who have their part.
    async with queue.passing(9, int, context=RequestContext(source="b")) as answer:
        assert answer == 9
    assert (len(entered), queue.statistics().waiting) == (2, 4)
    tasks[entered[0]].cancel()
    await until(lambda: len(entered) == 3)
    further_on.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert sorted(entered) == list(range(6))
    assert queue.statistics().items == 7
    queue.close()


async def test_heavy_items_are_prepared_one_at_a_time_and_in_nobodys_way(workers):
    queue, inside, most, door = queue_of(workers), [], [], threading.Event()

    def heavily(payload):
        inside.append(payload)
        most.append(len(inside))
        assert door.wait(20)
        inside.remove(payload)
        return payload

    def prepare(payload):
        raise Exclusive(heavily)

    heavy = [asyncio.create_task(queue.submit_raw(n, prepare)) for n in range(4)]
    await until(lambda: len(inside) == 1)
    assert await asyncio.gather(*(queue.submit_raw(n, int) for n in range(20))) == list(range(20))
    door.set()
    assert await asyncio.gather(*heavy) == list(range(4))
    assert set(most) == {1}
    queue.close()


async def test_closing_refuses_what_waits_and_what_is_being_prepared(one, door):
    queue = queue_of(one)
    tasks = [await stopped(queue, door), asyncio.create_task(queue.submit_raw(b"next", door))]
    await until(lambda: queue.statistics().waiting == 2)
    queue.close()
    door.gate.open()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, NotReady) for outcome in outcomes)
    with pytest.raises(NotReady):
        await queue.submit_raw(b"more", door)
    assert door.seen == [b"first"]


async def test_a_ticket_tells_where_the_time_went(one, door):
    queue, timings = queue_of(one), Timings()
    first = await stopped(queue, door)
    second = asyncio.create_task(
        queue.submit_raw(b"second", door, context=RequestContext(timings=timings))
    )
    await until(lambda: queue.statistics().waiting == 2)
    door.gate.open()
    await asyncio.gather(first, second)
    assert timings.wait > 0 and timings.preprocess > 0
    assert (timings.run, timings.batch) == (0, 0)
    queue.close()


async def test_what_is_through_is_let_go(workers):
    queue = queue_of(workers, ahead=1, capacity=50)
    answers = await asyncio.gather(*(queue.submit_raw(n, int) for n in range(50)))
    assert answers == list(range(50))
    assert not queue._scheduler._held and not queue._scheduler._passing
    queue.close()
