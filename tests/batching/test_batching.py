"""The batch queue: who shares a batch, in which order, and what becomes of everyone."""

import asyncio
import time

import pytest

from batch_kit import Panic, occupied, until_waiting
from hearth.batching import BatchQueue, RequestContext
from hearth.errors import DeadlinePassed, InvalidInput, ModelFailed, NotReady, Overloaded


async def test_a_lone_item_runs_at_once():
    queue = BatchQueue(list, name="test", max_batch=8)
    assert await queue.submit(1) == 1
    assert queue.statistics().batches == 1
    queue.close()


async def test_what_waits_while_a_batch_runs_is_the_next_batch_up_to_its_largest(queue, gate):
    running = await occupied(queue, gate)
    rest = asyncio.gather(*(queue.submit(b"%d" % i) for i in range(6)))
    await until_waiting(queue, 6)
    gate.open()
    assert await rest == [b"%d" % i for i in range(6)]
    await running
    assert gate.batches == [[b"first"], [b"0", b"1", b"2", b"3"], [b"4", b"5"]]


async def test_only_equal_keys_share_a_batch_and_the_eldest_goes_first(queue, gate):
    running = await occupied(queue, gate)
    items = [(b"a1", "a"), (b"b1", "b"), (b"a2", "a"), (b"b2", "b"), (b"a3", "a")]
    rest = asyncio.gather(queue.submit_all(items))
    await until_waiting(queue, 5)
    gate.open()
    assert await rest == [[b"A1", b"B1", b"A2", b"B2", b"A3"]]
    await running
    assert gate.batches[1:] == [[b"a1", b"a2", b"a3"], [b"b1", b"b2"]]


async def test_a_full_queue_refuses_but_the_dead_take_no_places(gate):
    queue = BatchQueue(gate, name="test", max_batch=4, capacity=10)
    running = await occupied(queue, gate)
    doomed = [asyncio.create_task(queue.submit(b"dead")) for _ in range(10)]
    await until_waiting(queue, 10)
    with pytest.raises(Overloaded, match="10 waiting"):
        await queue.submit(b"x")
    for task in doomed:
        task.cancel()
    await asyncio.gather(*doomed, return_exceptions=True)
    alive = asyncio.create_task(queue.submit(b"alive"))
    await until_waiting(queue, 1)
    gate.open()
    assert await alive == b"ALIVE"
    await running
    assert gate.batches == [[b"first"], [b"alive"]]
    queue.close()


async def test_an_item_whose_deadline_has_passed_is_told_and_never_runs(queue, gate):
    running = await occupied(queue, gate)
    late = asyncio.create_task(queue.submit(b"late", context=RequestContext(time.monotonic())))
    good = asyncio.create_task(queue.submit(b"good", context=RequestContext(time.monotonic() + 60)))
    await until_waiting(queue, 2)
    gate.open()
    assert await good == b"GOOD"
    with pytest.raises(DeadlinePassed):
        await late
    await running
    assert gate.batches == [[b"first"], [b"good"]]
    assert queue.statistics().expired == 1


async def test_the_culprit_of_a_failed_batch_stands_alone(queue, gate):
    running = await occupied(queue, gate)
    rest = asyncio.gather(
        *(queue.submit(item) for item in (b"a", b"b", b"poison", b"c")), return_exceptions=True
    )
    await until_waiting(queue, 4)
    gate.open()
    a, b, failed, c = await rest
    assert (a, b, c) == (b"A", b"B", b"C")
    assert isinstance(failed, ModelFailed) and "poison" in str(failed)
    await running
    assert queue.statistics().failed == 1


async def test_even_a_panic_of_native_code_leaves_the_queue_alive():
    def run(batch):
        if "panic" in batch:
            raise Panic("native code")
        return list(batch)

    queue = BatchQueue(run, name="test", max_batch=1)
    with pytest.raises(ModelFailed, match="native code"):
        await queue.submit("panic")
    assert await queue.submit("next") == "next"
    queue.close()


async def test_errors_of_hearth_pass_as_they_are():
    def run(batch):
        raise InvalidInput("no such shape")

    queue = BatchQueue(run, name="test", max_batch=4)
    with pytest.raises(InvalidInput, match="no such shape"):
        await queue.submit(1)
    queue.close()


async def test_too_few_answers_are_a_failure_not_a_mix_up():
    queue = BatchQueue(lambda batch: [], name="test", max_batch=4)
    with pytest.raises(ModelFailed, match="0 answers to 1"):
        await queue.submit(1)
    queue.close()


async def test_closing_refuses_what_waits_and_what_comes(queue, gate):
    running = await occupied(queue, gate)
    late = asyncio.create_task(queue.submit(b"late"))
    await until_waiting(queue, 1)
    closing = asyncio.create_task(asyncio.to_thread(queue.close))
    with pytest.raises(NotReady):
        await late
    with pytest.raises(NotReady):
        await queue.submit(b"later")
    gate.open()
    await closing
    assert await running == b"FIRST"
    assert not queue._runner._thread.is_alive()
