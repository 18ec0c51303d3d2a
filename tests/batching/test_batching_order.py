"""Whose turn it is in a batch queue, what is prepared ahead, and who never runs at all."""

import asyncio
import threading
import time
import weakref

import pytest

from batch_kit import Gate, Panic, occupied, until
from hearth.batching import (
    BatchQueue,
    Exclusive,
    LatencyProfile,
    QueueHandle,
    RequestContext,
    Timings,
    Workers,
)
from hearth.batching.fair_queue import MOST_OVERTAKEN
from hearth.errors import DeadlinePassed, InvalidInput, ModelFailed, NotReady, OutOfMemory

EVEN = LatencyProfile({1: 1e-4, 2: 2e-4, 4: 4e-4, 8: 8e-4})
"""A larger batch gains nothing."""


def of(source, *, interactive=False, **more):
    return RequestContext(source=source, interactive=interactive, **more)


async def test_sources_take_turns_however_much_one_of_them_has_queued(queue, gate):
    running = await occupied(queue, gate)
    many = [asyncio.create_task(queue.submit(b"a%d" % n, context=of("a"))) for n in range(9)]
    await until(lambda: queue.statistics().waiting == 9)
    one = asyncio.create_task(queue.submit(b"b", context=of("b")))
    await until(lambda: queue.statistics().waiting == 10)
    gate.open()
    await asyncio.gather(running, one, *many)
    assert gate.batches[1] == [b"a0", b"b", b"a1", b"a2"]


async def test_urgent_items_overtake_and_arent_slowed_down_by_company(queue, gate):
    running = await occupied(queue, gate)
    queue.tune(EVEN, 4)
    bulk = [asyncio.create_task(queue.submit(b"bulk%d" % n)) for n in range(4)]
    await until(lambda: queue.statistics().waiting == 4)
    interactive = asyncio.create_task(queue.submit(b"now", context=of(None, interactive=True)))
    await until(lambda: queue.statistics().waiting == 5)
    gate.open()
    await asyncio.gather(running, interactive, *bulk)
    assert gate.batches[1:] == [[b"now"], [b"bulk0", b"bulk1", b"bulk2", b"bulk3"]]


async def test_company_is_welcome_where_it_costs_next_to_nothing(queue, gate):
    running = await occupied(queue, gate)
    queue.tune(LatencyProfile({1: 0.001, 4: 0.0011}), 4)
    bulk = [asyncio.create_task(queue.submit(b"bulk%d" % n)) for n in range(4)]
    await until(lambda: queue.statistics().waiting == 4)
    interactive = asyncio.create_task(queue.submit(b"now", context=of(None, interactive=True)))
    await until(lambda: queue.statistics().waiting == 5)
    gate.open()
    await asyncio.gather(running, interactive, *bulk)
    assert gate.batches[1] == [b"now", b"bulk0", b"bulk1", b"bulk2"]


async def test_bulk_has_its_turn_among_any_number_of_urgent_items(gate):
    queue = BatchQueue(gate, name="test", max_batch=1)
    running = await occupied(queue, gate)
    bulk = asyncio.create_task(queue.submit(b"bulk"))
    await until(lambda: queue.statistics().waiting == 1)
    interactive = [
        asyncio.create_task(queue.submit(b"now", context=of(None, interactive=True)))
        for _ in range(3 * MOST_OVERTAKEN)
    ]
    await until(lambda: queue.statistics().waiting == 1 + len(interactive))
    gate.open()
    await asyncio.gather(running, bulk, *interactive)
    assert gate.batches.index([b"bulk"]) == 1 + MOST_OVERTAKEN
    queue.close()


async def test_no_more_is_prepared_than_two_batches_and_one_for_every_newcomer(queue, gate):
    prepared = []

    def prepare(payload):
        prepared.append(payload)
        return payload

    def ask(payload, source):
        return asyncio.create_task(queue.submit_raw(payload, prepare, context=of(source)))

    running = await occupied(queue, gate)
    tasks = [ask(b"a%d" % n, "a") for n in range(30)]
    await until(lambda: queue.statistics().ready == 8)
    tasks.append(ask(b"b", "b"))
    await until(lambda: queue.statistics().ready == 9)
    assert queue.statistics().waiting == 31
    assert sorted(prepared) == sorted([*(b"a%d" % n for n in range(8)), b"b"])
    gate.open()
    answers = await asyncio.gather(*tasks)
    await running
    assert answers == [*(b"A%d" % n for n in range(30)), b"B"]
    assert any(b"b" in batch for batch in gate.batches[1:3])
    assert sum(queue.statistics().preparations.counts) == 31


async def test_what_cant_be_prepared_fails_alone_and_at_once(queue, gate):
    def prepare(payload):
        if payload == b"bad":
            raise InvalidInput("no picture")
        return payload

    running = await occupied(queue, gate)
    good = asyncio.create_task(queue.submit_raw(b"good", prepare))
    with pytest.raises(InvalidInput, match="no picture"):
        await queue.submit_raw(b"bad", prepare)
    gate.open()
    assert await good == b"GOOD"
    await running
    assert queue.statistics().waiting == 0


async def test_a_panic_while_preparing_leaves_the_workers_alive(queue, gate):
    def prepare(payload):
        raise Panic("native code")

    gate.open()
    for _ in range(5):  # more than there are workers
        with pytest.raises(ModelFailed, match="native code"):
            await queue.submit_raw(b"x", prepare)
    assert await queue.submit_raw(b"x", lambda payload: payload) == b"X"


async def test_cancelled_items_leave_the_queue_and_are_freed_at_once(queue, gate):
    class Payload:
        pass

    running = await occupied(queue, gate)
    raw, ready = Payload(), Payload()
    kept = [weakref.ref(raw), weakref.ref(ready)]
    tasks = [
        asyncio.create_task(queue.submit_raw(raw, lambda payload: payload)),
        asyncio.create_task(queue.submit(ready)),
    ]
    del raw, ready
    await until(lambda: queue.statistics().ready == 2)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    del tasks, task
    statistics = queue.statistics()
    assert (statistics.waiting, statistics.cancelled) == (0, 2)
    await until(lambda: not any(ref() for ref in kept))
    gate.open()
    await running
    assert gate.batches == [[b"first"]]


async def test_a_failed_member_takes_its_group_out_of_the_queue(gate):
    queue = BatchQueue(gate, name="test", max_batch=1)
    running = await occupied(queue, gate)
    group = asyncio.create_task(queue.submit_all([(b"poison", 0), (b"x", 1), (b"y", 2)]))
    await until(lambda: queue.statistics().waiting == 3)
    gate.open()
    with pytest.raises(ModelFailed):
        await group
    await running
    assert await queue.submit(b"next") == b"NEXT"
    statistics = queue.statistics()
    assert statistics.items + statistics.cancelled == 5
    queue.close()


async def test_what_cant_be_done_in_time_never_runs(gate):
    queue = BatchQueue(gate, name="test", max_batch=4)
    queue.tune(LatencyProfile({1: 30.0}), 4)
    gate.open()
    await queue.submit(b"first")  # now the profile is believed: a batch has just run
    with pytest.raises(DeadlinePassed):
        await queue.submit(b"late", context=RequestContext(deadline=time.monotonic() + 0.05))
    assert gate.batches == [[b"first"]]
    assert queue.statistics().expired == 1
    queue.close()


async def test_a_forecast_without_fresh_evidence_refuses_nobody(gate):
    queue = BatchQueue(gate, name="test", max_batch=4)
    queue.tune(LatencyProfile({1: 30.0}), 4)
    gate.open()
    context = RequestContext(deadline=time.monotonic() + 5)
    assert await queue.submit(b"first", context=context) == b"FIRST"
    queue.close()


async def test_short_memory_makes_batches_smaller_for_good():
    sizes = []

    def run(batch):
        sizes.append(len(batch))
        if len(batch) > 3:
            raise OutOfMemory("no room")
        return list(batch)

    queue = BatchQueue(run, name="test", max_batch=16)
    for _ in range(2):
        answers = await queue.submit_all([(n, None) for n in range(32)])
        assert answers == list(range(32))
    statistics = queue.statistics()
    assert statistics.max_batch == 2 and statistics.shrunk >= 1 and statistics.failed == 0
    assert all(size <= 2 for size in sizes[len(sizes) - 16 :])
    queue.close()


async def test_an_item_that_never_fits_fails_alone():
    def run(batch):
        raise OutOfMemory("no room")

    queue = BatchQueue(run, name="test", max_batch=4)
    with pytest.raises(ModelFailed, match="no room"):
        await queue.submit(1)
    assert queue.max_batch == 4
    queue.close()


async def test_an_exception_in_an_answers_place_fails_that_item_alone_without_a_second_run():
    calls = []

    def run(batch):
        calls.append(list(batch))
        return [ModelFailed("not finite") if n == 2 else n for n in batch]

    queue = BatchQueue(run, name="test", max_batch=8)
    answers = await asyncio.gather(*(queue.submit(n) for n in range(5)), return_exceptions=True)
    assert answers[:2] + answers[3:] == [0, 1, 3, 4]
    assert isinstance(answers[2], ModelFailed)
    assert sum(map(len, calls)) == 5
    queue.close()


async def test_frequent_culprits_make_batches_small_and_clean_ones_large_again():
    sizes = []

    def run(batch):
        sizes.append(len(batch))
        if any(n < 0 for n in batch):
            raise ValueError("poison")
        return list(batch)

    queue = BatchQueue(run, name="test", max_batch=8)
    items = [-n if n % 4 == 1 else n for n in range(400)]
    answers = await asyncio.gather(*(queue.submit(n) for n in items), return_exceptions=True)
    assert [a for a in answers if not isinstance(a, Exception)] == [n for n in items if n >= 0]
    # With halving alone each batch of eight costs fifteen runs' worth of items.
    assert sum(sizes) < 2.2 * len(items)
    await asyncio.gather(*(queue.submit(n) for n in range(800)))
    sizes.clear()
    await asyncio.gather(*(queue.submit(n) for n in range(80)))
    assert sizes.count(8) >= 8
    queue.close()


async def test_fixed_sizes_are_filled_with_the_least_waste(gate):
    queue = BatchQueue(gate, name="test", max_batch=8, sizes=(1, 4, 8))
    running = await occupied(queue, gate)
    rest = asyncio.gather(*(queue.submit(b"%d" % n) for n in range(13)))
    await until(lambda: queue.statistics().waiting == 13)
    gate.open()
    await rest
    await running
    assert [len(batch) for batch in gate.batches[1:]] == [8, 4, 1]
    queue.close()


async def test_a_session_comes_to_know_its_speed(gate):
    gate.open()
    queue = BatchQueue(gate, name="test", max_batch=8)
    profile = await queue.measure(b"x", largest=8)
    assert list(profile.times)[:3] == [1, 2, 4]
    queue.tune(profile)
    assert queue.max_batch in profile.times
    queue.tune(profile, 5)
    assert queue.max_batch == 5
    queue.close()
    with pytest.raises(NotReady):
        await queue.measure(b"x", largest=8)


async def test_measuring_a_model_that_cant_work_says_why():
    queue = BatchQueue(lambda batch: [ModelFailed("no")] * len(batch), name="test", max_batch=8)
    with pytest.raises(ModelFailed, match="no"):
        await queue.measure(b"x", largest=8)
    queue.close()


async def test_a_ticket_tells_where_the_time_went(queue, gate):
    gate.open()
    timings = Timings()
    await queue.submit_raw(
        b"x", lambda p: time.sleep(0.02) or p, context=RequestContext(timings=timings)
    )
    assert timings.batch == 1
    assert timings.preprocess >= 0.02
    assert 0 <= timings.wait < 10 and timings.run > 0


async def test_a_free_session_waits_for_company_only_as_the_policy_says(gate):
    asked = []

    def linger(moment):
        asked.append(moment)
        return float("inf") if moment.waiting < 3 else 0.0

    queue = BatchQueue(gate, name="test", max_batch=8, window=linger)
    gate.open()
    tasks = [asyncio.create_task(queue.submit(b"%d" % n)) for n in range(2)]
    await until(lambda: asked and asked[-1].waiting == 2)
    assert gate.batches == []
    tasks.append(asyncio.create_task(queue.submit(b"2")))
    await asyncio.gather(*tasks)
    assert gate.batches == [[b"0", b"1", b"2"]]
    queue.close()


async def test_closing_refuses_raw_items_as_well(gate, workers):
    queue = BatchQueue(gate, name="test", max_batch=1, workers=workers, ahead=1)
    running = await occupied(queue, gate)
    tasks = [asyncio.create_task(queue.submit_raw(b"x", bytes, context=of("a"))) for _ in range(5)]
    await until(lambda: queue.statistics().ready == 1)
    closing = asyncio.create_task(asyncio.to_thread(queue.close))
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, NotReady) for outcome in outcomes)
    gate.open()
    await closing
    await running


async def test_workers_serve_several_queues_in_turns(workers):
    slow, quick = Gate(), Gate()
    quick.open()
    stuck = BatchQueue(slow, name="stuck", max_batch=1, workers=workers, ahead=1)
    free = BatchQueue(quick, name="free", max_batch=4, workers=workers)
    waiting = [asyncio.create_task(stuck.submit_raw(b"s", bytes)) for _ in range(10)]
    answers = await asyncio.gather(*(free.submit_raw(b"q", bytes) for _ in range(50)))
    assert answers == [b"Q"] * 50
    slow.open()
    await asyncio.gather(*waiting)
    stuck.close()
    free.close()


async def test_heavy_items_are_prepared_one_at_a_time_and_in_nobodys_way(workers):
    gate = Gate()
    gate.open()
    queue = BatchQueue(gate, name="test", max_batch=4, workers=workers)
    door, inside, most = threading.Event(), [], []

    def heavily(payload):
        inside.append(payload)
        most.append(len(inside))
        assert door.wait(20)
        inside.remove(payload)
        return payload

    def prepare(payload):
        raise Exclusive(heavily)

    heavy = [asyncio.create_task(queue.submit_raw(b"h%d" % n, prepare)) for n in range(6)]
    gone = asyncio.create_task(queue.submit_raw(b"gone", prepare))
    await until(lambda: len(inside) == 1)
    assert await asyncio.gather(*(queue.submit_raw(b"l", bytes) for _ in range(20))) == [b"L"] * 20
    gone.cancel()
    door.set()
    assert await asyncio.gather(*heavy) == [b"H%d" % n for n in range(6)]
    assert set(most) == {1}
    statistics = queue.statistics()
    assert (statistics.waiting, statistics.cancelled) == (0, 1)
    queue.close()


async def test_closing_refuses_heavy_items_as_well(workers):
    queue = BatchQueue(list, name="test", max_batch=4, workers=workers)
    door = threading.Event()

    def prepare(payload):
        raise Exclusive(lambda _: door.wait(20))

    tasks = [asyncio.create_task(queue.submit_raw(n, prepare)) for n in range(4)]
    await until(lambda: queue.statistics().waiting == 4 and queue._scheduler.exclusive.count == 3)
    await asyncio.to_thread(queue.close)
    door.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, NotReady) for outcome in outcomes)


async def test_what_has_a_next_stage_counts_as_prepared_until_it_is_through(workers):
    queue = BatchQueue(list, name="test", max_batch=4, workers=workers, ahead=2)
    further_on = asyncio.Event()
    entered = []

    async def visit(n):
        async with queue.passing(n, lambda payload: payload, context=of("a")) as answer:
            entered.append(answer)
            await further_on.wait()

    tasks = [asyncio.create_task(visit(n)) for n in range(6)]
    await until(lambda: len(entered) == 2)
    assert await queue.submit(7) == 7  # what needs no preparation is not held up
    assert (len(entered), queue.statistics().waiting) == (2, 4)
    tasks[entered[0]].cancel()
    await until(lambda: len(entered) == 3)
    further_on.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert sorted(entered) == list(range(6))
    queue.close()


async def test_threads_end_with_the_last_queue_and_start_again_with_the_next():
    workers = Workers(2, name="shift")

    def threads():
        return sum(thread.name.startswith("shift") for thread in threading.enumerate())

    for _ in range(3):
        queue = BatchQueue(list, name="test", max_batch=4, workers=workers)
        assert await queue.submit_raw(1, lambda payload: payload) == 1
        assert threads() == 3  # and the one for heavy items
        queue.close()
        await until(lambda: threads() == 0)


async def test_one_slow_batch_doesnt_make_the_forecast_refuse_what_can_be_done(gate):
    queue = BatchQueue(gate, name="test", max_batch=4)
    queue.tune(LatencyProfile({1: 0.001}), 4)
    running = await occupied(queue, gate)
    await asyncio.sleep(0.5)  # the batch in the gate takes 500 times as long as it should
    gate.open()
    await running
    context = RequestContext(deadline=time.monotonic() + 0.4)
    assert await queue.submit(b"next", context=context) == b"NEXT"
    queue.close()


async def test_a_group_counts_the_time_of_its_slowest_member_once():
    def run(batch):
        time.sleep(0.01)
        return list(batch)

    queue = BatchQueue(run, name="test", max_batch=2)
    timings, began = Timings(), time.monotonic()
    await queue.submit_all([(n, None) for n in range(10)], context=RequestContext(timings=timings))
    took = time.monotonic() - began
    assert 0.05 <= timings.wait + timings.run <= took
    assert timings.batch == 2
    queue.close()


async def test_one_item_too_large_for_memory_doesnt_shrink_the_batches_of_others():
    def run(batch):
        if "huge" in batch:
            raise OutOfMemory("no room")
        return list(batch)

    queue = BatchQueue(run, name="test", max_batch=8)
    items = [*"abcdefg", "huge"]
    answers = await asyncio.gather(*(queue.submit(n) for n in items), return_exceptions=True)
    assert answers[:7] == items[:7] and isinstance(answers[7], OutOfMemory)
    assert queue.max_batch == 8
    queue.close()


async def test_an_item_goes_on_with_the_turn_of_whoever_else_waits_for_it(queue, gate):
    running = await occupied(queue, gate)
    handles = [QueueHandle() for _ in range(12)]
    tasks = [
        asyncio.create_task(queue.submit(b"a%d" % n, context=of("a"), handle=handle))
        for n, handle in enumerate(handles)
    ]
    await until(lambda: queue.statistics().waiting == 12)
    queue.inherit_priority(handles[11], of("b"))
    queue.inherit_priority(handles[10], of("a"))  # no sooner that way
    queue.inherit_priority(handles[9], of("a", interactive=True))
    gate.open()
    await asyncio.gather(running, *tasks)
    assert gate.batches[1:3] == [[b"a9"], [b"a0", b"a11", b"a1", b"a2"]]
    assert gate.batches[-1][-1] == b"a10"
    queue.inherit_priority(handles[0], of("b"))  # it is done: nothing happens
    assert queue.statistics().waiting == 0
