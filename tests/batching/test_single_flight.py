"""Shared work: who does it, who waits for it, what is kept, and what becomes of everyone."""

import asyncio
import gc
import hashlib
import weakref
from collections.abc import Awaitable, Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hearth.batching import Limit
from hearth.errors import (
    DeadlinePassed,
    InvalidInput,
    ModelFailed,
    NotReady,
    OutOfMemory,
    Overloaded,
    UnknownTask,
)
from hearth.models.single_flight import SharedStatistics, SingleFlightCache, digest


class Work:
    """Work that ends when the test says so; counts how often it was begun."""

    def __init__(self) -> None:
        self.begun = 0
        self._ends: list[asyncio.Future[object]] = []

    async def __call__(self) -> object:
        self.begun += 1
        end: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._ends.append(end)
        return await end

    def end(self, outcome: object) -> None:
        """End the work begun last."""
        if isinstance(outcome, Exception):
            self._ends[-1].set_exception(outcome)
        else:
            self._ends[-1].set_result(outcome)


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture(scope="module", autouse=True)
def frozen() -> Iterator[None]:
    """What other tests have left in memory isn't looked through each time all is collected."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def complaints() -> Iterator[None]:
    """Nothing may be said to the loop's exception handler, not even when all is collected."""
    said: list[str] = []
    original = asyncio.BaseEventLoop.call_exception_handler
    asyncio.BaseEventLoop.call_exception_handler = (  # type: ignore[method-assign]
        lambda loop, context: said.append(context["message"])
    )
    yield
    gc.collect()
    asyncio.BaseEventLoop.call_exception_handler = original  # type: ignore[method-assign]
    assert not said


async def settled() -> None:
    """Until all that can go on has gone on."""
    for _ in range(10):
        await asyncio.sleep(0)


async def callers(
    shared: SingleFlightCache, work: Callable[[], Awaitable[object]], count: int
) -> list[asyncio.Task]:
    tasks = [asyncio.create_task(shared.get("key", work)) for _ in range(count)]
    await settled()
    return tasks


def value(number: int) -> Callable[[], Awaitable[int]]:
    async def make() -> int:
        return number

    return make


async def never() -> object:
    raise AssertionError("this should be known already")


# --- joining --------------------------------------------------------------------------------


async def test_identical_work_in_flight_is_done_once(work):
    shared = SingleFlightCache(4)
    tasks = await callers(shared, work, 5)
    answer = object()
    work.end(answer)
    assert all(each is answer for each in await asyncio.gather(*tasks))
    assert work.begun == 1
    assert shared.statistics() == SharedStatistics(
        hits=0, misses=1, joined=4, entries=1, capacity=4
    )


async def test_different_work_is_done_side_by_side(work):
    shared = SingleFlightCache(4)
    first = asyncio.create_task(shared.get("a", work))
    await settled()
    assert await shared.get("b", value(2)) == 2
    work.end(1)
    assert await first == 1


async def test_none_is_a_value_like_any_other(work):
    shared = SingleFlightCache(4)
    tasks = await callers(shared, work, 3)
    work.end(None)
    assert await asyncio.gather(*tasks) == [None, None, None]
    assert await shared.get("key", never) is None
    assert work.begun == 1


async def test_an_error_can_be_a_value(work):
    shared = SingleFlightCache(4)
    tasks = await callers(shared, value(ModelFailed("one of many")), 1)
    assert str(await tasks[0]) == "one of many"
    assert str(await shared.get("key", never)) == "one of many"


# --- cancels --------------------------------------------------------------------------------


async def test_when_the_one_who_works_is_cancelled_the_next_takes_over(work):
    shared = SingleFlightCache(4)
    leader, *others = await callers(shared, work, 4)
    leader.cancel()
    await settled()
    assert leader.cancelled()
    assert work.begun == 2
    work.end("answer")
    assert await asyncio.gather(*others) == ["answer"] * 3
    assert shared.statistics().misses == 1


async def test_one_who_waits_can_leave_and_nobody_notices(work):
    shared = SingleFlightCache(4)
    leader, leaving, staying = await callers(shared, work, 3)
    leaving.cancel()
    await settled()
    assert leaving.cancelled()
    work.end("answer")
    assert await asyncio.gather(leader, staying) == ["answer"] * 2
    assert work.begun == 1


async def test_a_turn_passes_on_when_it_comes_to_one_who_leaves_at_that_moment(work):
    shared = SingleFlightCache(4)
    leader, *others = await callers(shared, work, 4)
    leader.cancel()
    await asyncio.sleep(0)  # the turn has come to the first of the others, who still sleeps
    others[0].cancel()
    await settled()
    assert others[0].cancelled()
    assert work.begun == 2
    work.end("answer")
    assert await asyncio.gather(*others[1:]) == ["answer"] * 2


async def test_those_who_have_left_are_passed_over(work):
    shared = SingleFlightCache(4)
    leader, gone, also_gone, last = await callers(shared, work, 4)
    for task in (gone, also_gone, leader):
        task.cancel()
    await settled()
    work.end("answer")
    assert await last == "answer"
    assert work.begun == 2


async def test_when_all_have_left_the_next_begins_anew(work):
    shared = SingleFlightCache(4)
    for task in await callers(shared, work, 3):
        task.cancel()
    await settled()
    [task] = await callers(shared, work, 1)
    work.end("answer")
    assert await task == "answer"
    assert shared.statistics() == SharedStatistics(0, 2, 2, 1, 4)


# --- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [InvalidInput, UnknownTask, ModelFailed, OutOfMemory])
async def test_an_error_of_the_work_is_everybodys(work, kind):
    shared = SingleFlightCache(4)
    tasks = await callers(shared, work, 3)
    work.end(kind("it can't be done"))
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in errors] == [kind] * 3
    assert [str(error) for error in errors] == ["it can't be done"] * 3
    assert len({id(error) for error in errors}) == 3
    assert work.begun == 1


@pytest.mark.parametrize("kind", [DeadlinePassed, Overloaded, NotReady, KeyError])
async def test_an_error_of_the_one_who_works_is_theirs_alone(work, kind):
    shared = SingleFlightCache(4)
    leader, *others = await callers(shared, work, 3)
    work.end(kind("too late"))
    with pytest.raises(kind, match="too late"):
        await leader
    await settled()
    assert work.begun == 2
    work.end("answer")
    assert await asyncio.gather(*others) == ["answer"] * 2


async def test_errors_are_not_kept(work):
    shared = SingleFlightCache(4)
    [task] = await callers(shared, work, 1)
    work.end(InvalidInput("not this time"))
    with pytest.raises(InvalidInput):
        await task
    assert await shared.get("key", value(1)) == 1


async def test_errors_leave_no_payloads_and_no_cycles_behind():
    class Payload:
        pass

    payload = Payload()
    trace = weakref.ref(payload)

    async def make(payload=payload):
        await asyncio.sleep(0)
        raise InvalidInput("bad")

    gc.collect()
    gc.disable()
    try:
        shared = SingleFlightCache(4)
        tasks = [asyncio.create_task(shared.get("key", make)) for _ in range(3)]
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(error) for error in errors] == [InvalidInput] * 3
        assert shared.statistics().joined == 2
        del payload, make, tasks, errors
        await settled()
        assert trace() is None
    finally:
        gc.enable()


# --- what is kept ---------------------------------------------------------------------------


async def test_what_is_known_is_answered_without_any_work():
    shared = SingleFlightCache(4)
    assert await shared.get("key", value(1)) == 1
    assert await shared.get("key", never) == 1
    assert shared.statistics() == SharedStatistics(1, 1, 0, 1, 4)


async def test_the_values_used_last_are_kept():
    shared = SingleFlightCache(3)
    for key in "abc":
        await shared.get(key, value(1))
    await shared.get("a", never)
    await shared.get("d", value(1))  # b is the one that nobody has used for longest
    for key in "acd":
        await shared.get(key, never)
    assert await shared.get("b", value(2)) == 2
    assert shared.statistics().entries == 3


async def test_off_means_neither_joining_nor_keeping(work):
    shared = SingleFlightCache(0)
    tasks = await callers(shared, work, 2)
    assert work.begun == 2
    for end in work._ends:
        end.set_result("answer")
    assert await asyncio.gather(*tasks) == ["answer"] * 2
    assert shared.statistics() == SharedStatistics(0, 0, 0, 0, 0)


async def test_what_is_kept_is_bounded_by_what_it_weighs():
    shared = SingleFlightCache(10, weigh=len)
    for key, weight in (("a", 4), ("b", 3), ("c", 3)):
        await shared.get(key, value("x" * weight))
    assert shared.statistics().entries == 10
    await shared.get("d", value("x" * 5))  # a and b have to go for it
    assert shared.statistics().entries == 8
    for key in "cd":
        await shared.get(key, never)


async def test_a_value_heavier_than_all_that_may_be_kept_drives_nothing_out():
    shared = SingleFlightCache(10, weigh=len)
    await shared.get("light", value("x"))
    assert await shared.get("heavy", value("x" * 11)) == "x" * 11
    assert await shared.get("heavy", value("x" * 12)) == "x" * 12
    assert await shared.get("light", never) == "x"
    assert shared.statistics().entries == 1


# --- all at once ----------------------------------------------------------------------------

OUTCOMES = [None, InvalidInput, ModelFailed, DeadlinePassed, Overloaded, KeyError]
OF_THE_WORK = (InvalidInput, ModelFailed)

STEPS = st.integers(0, 12)
CALLER = st.tuples(
    st.sampled_from("abc"), STEPS, STEPS, st.sampled_from(OUTCOMES), st.none() | STEPS
)


@settings(max_examples=250, deadline=None)
@given(st.lists(CALLER, max_size=12), st.integers(1, 3))
def test_everybody_gets_the_right_answer_once(plan, capacity):
    """Each caller: a key, when it comes, how long its work takes, how it ends, when it leaves."""
    shared = SingleFlightCache(capacity)
    working: set[str] = set()
    made: set[tuple[str, int]] = set()
    failed: set[tuple[type, str]] = set()

    async def call(number, key, comes, takes, outcome):
        async def make():
            assert key not in working
            working.add(key)
            try:
                for _ in range(takes):
                    await asyncio.sleep(0)
            finally:
                working.discard(key)
            if outcome is None:
                made.add((key, number))
                return key, number
            failed.add((outcome, f"{key}{number}"))
            raise outcome(f"{key}{number}")

        for _ in range(comes):
            await asyncio.sleep(0)
        return await shared.get(key, make)

    async def leave(task, when):
        for _ in range(when):
            await asyncio.sleep(0)
        task.cancel()

    async def play():
        tasks = [
            asyncio.create_task(call(number, *caller[:4])) for number, caller in enumerate(plan)
        ]
        leaving = [
            asyncio.create_task(leave(task, caller[4]))
            for task, caller in zip(tasks, plan, strict=True)
            if caller[4] is not None
        ]
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*leaving)
        return answers

    answers = asyncio.run(play())
    for number, ((key, _, _, outcome, leaves), answer) in enumerate(
        zip(plan, answers, strict=True)
    ):
        if isinstance(answer, asyncio.CancelledError):
            assert leaves is not None
        elif isinstance(answer, OF_THE_WORK):
            assert (type(answer), str(answer)) in failed and str(answer)[0] == key
        elif isinstance(answer, Exception):
            assert isinstance(answer, outcome) and f"{key}{number}" in str(answer)
        else:
            assert answer[0] == key and answer in made
    counts = shared.statistics()
    assert counts.hits + counts.misses + counts.joined <= len(plan)
    assert counts.entries <= capacity
    assert not shared._flying


# --- digests --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 12_000, 128 * 1024, 128 * 1024 + 1, 5_000_000])
async def test_a_digest_is_the_sha_256_whatever_the_size(size):
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert await digest(payload) == hashlib.sha256(payload).digest()


async def test_a_cache_whose_limit_changes_keeps_no_more_than_that():
    limit = Limit(3)
    shared = SingleFlightCache(limit)

    async def make() -> str:
        return "made"

    for key in "abc":
        await shared.get(key, make)
    limit.value = 1
    await shared.get("d", make)
    assert shared.statistics()._replace(misses=0) == SharedStatistics(0, 0, 0, 1, 1)
    limit.value = 0
    await shared.get("d", make)
    limit.value = 3
    assert shared.statistics().entries == 0
    await shared.get("d", make)
    assert shared.statistics().hits == 0
