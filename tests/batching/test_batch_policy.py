"""How large batches are, and when a free session waits for company: as long as it pays."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batch_kit import until_waiting
from hearth.batching import BatchQueue, LatencyProfile, WindowState, adaptive_window
from hearth.batching.batch_policy import BatchSizer
from hearth.batching.isolate_failures import BatchOutcome

PROFILES = st.dictionaries(
    st.integers(1, 64), st.floats(1e-4, 10, allow_nan=False), min_size=1, max_size=7
).map(LatencyProfile)
"""Of any shape: steps down, peaks and single points as well."""

SIZES = (1, 2, 4, 8, 16, 32)

AWHILE = 1000.0
"""Seconds: whoever waits so long fails the test by its timeout."""


def weights_bound(size: int) -> float:
    return 2.5 + 0.05 * size


SHAPES = {
    "a batch costs hardly more than one": weights_bound,
    "a batch costs what its items cost": lambda size: 0.9 * size,
    "a batch costs more than its items": lambda size: 0.8 * size * (1 + size / 100),
    "steps": lambda size: 1.0 + (size > 4) * 3.0 + (size > 16) * 9.0,
}


def shaped(name: str) -> LatencyProfile:
    return LatencyProfile({size: SHAPES[name](size) for size in SIZES})


def moment(
    profile: LatencyProfile | None, waiting: int, expected: int, **more: float
) -> WindowState:
    values = {"free_since": 0.0, "eldest": float, "limit": 32, "max_delay": 0.01} | more
    return WindowState(waiting=waiting, expected=expected, profile=profile, **values)


# --- the policy -----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("waiting", [1, 2, 7, 40])
def test_nobody_waits_where_no_more_are_about_than_are_here(shape, waiting):
    for expected in range(waiting + 1):
        assert adaptive_window(moment(shaped(shape), waiting, expected)) <= 0


@pytest.mark.parametrize("expected", [1, 2, 100])
def test_nobody_waits_where_nothing_was_measured(expected):
    assert adaptive_window(moment(None, 1, expected)) <= 0


@pytest.mark.parametrize(
    "shape", ["a batch costs what its items cost", "a batch costs more than its items"]
)
def test_nobody_waits_where_a_larger_batch_doesnt_pay(shape):
    for waiting in range(1, 9):
        for expected in range(1, 33):
            assert adaptive_window(moment(shaped(shape), waiting, expected)) <= 1e-9


def test_it_waits_for_the_others_of_the_last_round_where_that_pays():
    profile = shaped("a batch costs hardly more than one")
    until = adaptive_window(moment(profile, 1, 4, free_since=7.0, max_delay=AWHILE))
    # One batch of 4 takes 2.7 s; one of 1 and one of 3 take 2.55 and 2.65 s.
    assert until == pytest.approx(7.0 + 2.5)


def test_it_waits_no_longer_than_it_is_allowed_to():
    profile = shaped("a batch costs hardly more than one")
    assert adaptive_window(moment(profile, 1, 4, free_since=7.0)) == pytest.approx(7.01)


def test_it_waits_for_no_more_than_a_batch_holds():
    profile = shaped("a batch costs hardly more than one")
    assert adaptive_window(moment(profile, 4, 20, limit=4)) <= 0
    assert adaptive_window(moment(profile, 3, 20, limit=4)) > 0


@given(
    PROFILES,
    st.integers(1, 100),
    st.integers(0, 100),
    st.integers(1, 64),
    st.floats(0, 10),
    st.floats(0, 1000),
)
def test_nobody_waits_longer_than_it_gains(
    profile, waiting, expected, limit, max_delay, free_since
):
    until = adaptive_window(
        moment(profile, waiting, expected, limit=limit, max_delay=max_delay, free_since=free_since)
    )
    assert until <= free_since + max_delay + 1e-9
    aim = min(limit, expected)
    if waiting >= aim:
        assert until <= free_since
    else:
        apart = profile.seconds(waiting) + profile.seconds(aim - waiting)
        assert until <= free_since + max(apart - profile.seconds(aim), 0) + 1e-9


# --- the profile ------------------------------------------------------------------------------


@given(PROFILES)
def test_a_profile_goes_through_what_was_measured(profile):
    for size, seconds in profile.times.items():
        assert profile.seconds(size) == pytest.approx(seconds)


@given(PROFILES, st.integers(1, 200))
def test_between_two_sizes_a_profile_lies_between_their_times(profile, size):
    times = list(profile.times.items())
    for (low, before), (high, after) in pairwise(times):
        if low <= size <= high:
            assert min(before, after) - 1e-9 <= profile.seconds(size) <= max(before, after) + 1e-9
    last, seconds = times[-1]
    if size >= last:
        assert profile.seconds(size) / size == pytest.approx(seconds / last)


@pytest.mark.parametrize(
    ("shape", "best"),
    [
        ("a batch costs hardly more than one", 32),
        ("a batch costs what its items cost", 1),
        ("a batch costs more than its items", 1),
        ("steps", 4),
    ],
)
def test_the_best_batch_is_the_one_past_which_little_is_gained(shape, best):
    assert shaped(shape).best() == best


@given(PROFILES, st.floats(0, 0.01))
@example(LatencyProfile({1: 0.0001, 28: 0.015625}), 0.0005)
@example(LatencyProfile({1: 0.0001, 28: 0.015625}), 0.0001)
def test_no_size_is_much_better_than_the_best(profile, overhead):
    # As clients see it: a batch costs its run and the hand-over. One item in 0.1 ms is no more
    # than 28 in 15.6 ms where that takes half a millisecond, and three times as much at 0.1 ms.
    throughput = {size: size / (seconds + overhead) for size, seconds in profile.times.items()}
    best = profile.best(overhead)
    assert max(throughput.values()) <= throughput[best] * 1.03 * (1 + 1e-9)


@pytest.mark.parametrize("times", [{}, {0: 1.0}, {1: 0.0}, {1: -1.0}, {1: float("nan")}])
def test_what_isnt_a_measurement_makes_no_curve(times):
    with pytest.raises(ValueError, match="no profile"):
        LatencyProfile(times)


# --- what a batch costs beside its run ------------------------------------------------------


def ran(sizer: BatchSizer, gap: float, *, count: int = 50, at_once: bool = True) -> None:
    """Let batches of a millisecond follow each other after so many seconds."""
    outcome = BatchOutcome([None], runs=1, culprits=0, fits=None)
    for _ in range(count):
        began = sizer.free_since + gap
        sizer.note(1, began, began + 0.001, outcome, at_once=at_once)


STEEP = LatencyProfile({1: 0.0001, 28: 0.0156})
"""28 items for 156 times what one takes: they pay only where a batch costs much beside its run."""


@pytest.mark.parametrize(("gap", "best"), [(0.00003, 1), (0.0001, 1), (0.0009, 28)])
def test_sizes_are_chosen_by_what_a_batch_was_seen_to_cost_beside_its_run(gap, best):
    sizer = BatchSizer(8)
    ran(sizer, gap)
    assert gap < sizer.overhead <= 2 * gap  # the loop's part counts as the owner's
    sizer.tune(STEEP, None)
    assert sizer.max_batch == best


def test_sizes_are_chosen_anew_when_that_cost_changes():
    sizer = BatchSizer(8)
    sizer.tune(STEEP, None)
    assert sizer.max_batch == 1
    ran(sizer, 0.0009)
    assert sizer.max_batch == 28
    ran(sizer, 0.00005)
    assert sizer.max_batch == 1


def test_a_wish_is_no_matter_of_cost():
    sizer = BatchSizer(8)
    sizer.tune(STEEP, 4)
    ran(sizer, 0.0009)
    assert sizer.max_batch == 4


def test_a_session_that_waited_for_work_tells_nothing_of_that_cost():
    sizer = BatchSizer(8)
    ran(sizer, 0.0009, at_once=False)
    assert sizer.overhead == 0


async def test_a_queue_sees_what_its_batches_cost_beside_their_runs(gate):
    queue = BatchQueue(gate, name="test", max_batch=1)
    first = asyncio.create_task(queue.submit(b"x"))
    await gate.entered()
    others = [asyncio.create_task(queue.submit(b"x")) for _ in range(3)]
    await until_waiting(queue, 3)
    assert queue._sizer.overhead == 0
    gate.open()
    await asyncio.gather(first, *others)
    assert queue._sizer.overhead > 0
    queue.close()


# --- a queue that waits for company ---------------------------------------------------------


@pytest.fixture
def patient(gate):
    """A queue that would wait for a very long time, if it were worth anybody's while."""
    made = BatchQueue(gate, name="test", max_batch=8, max_delay=AWHILE)
    made.tune(LatencyProfile({1: AWHILE, 8: AWHILE}), max_batch=8)
    yield made
    gate.open()
    made.close()


@pytest.mark.timeout(30)
async def test_a_lone_client_never_waits(patient, gate):
    gate.open()
    for number in range(20):
        assert await patient.submit(b"%d" % number) == b"%d" % number
    assert [len(batch) for batch in gate.batches] == [1] * 20


@pytest.mark.timeout(30)
async def test_clients_that_come_back_are_waited_for(patient, gate):
    async def client(rounds: int) -> None:
        for _ in range(rounds):
            await patient.submit(b"x")

    first = asyncio.create_task(client(6))
    await gate.entered()
    others = [asyncio.create_task(client(5)) for _ in range(3)]
    await until_waiting(patient, 3)
    gate.open()
    await asyncio.gather(first, *others)
    # The first alone; then always all four, however slowly they come back.
    assert [len(batch) for batch in gate.batches] == [1, 4, 4, 4, 4, 4]


@pytest.mark.timeout(30)
async def test_those_who_dont_come_back_are_waited_for_once(gate):
    known: list[int] = []

    def watched(moment: WindowState) -> float:
        known.append(moment.expected)
        return adaptive_window(moment)

    queue = BatchQueue(gate, name="test", max_batch=8, max_delay=0.01, window=watched)
    queue.tune(LatencyProfile({1: AWHILE, 8: AWHILE}), max_batch=8)
    first = asyncio.create_task(queue.submit(b"x"))
    await gate.entered()
    others = [asyncio.create_task(queue.submit(b"x")) for _ in range(3)]
    await until_waiting(queue, 3)
    gate.open()
    await asyncio.gather(first, *others)
    for _ in range(20):
        await queue.submit(b"y")
    queue.close()
    assert set(known[known.index(4) :]) == {4, 3, 1}  # 3: the others, who were a batch
    assert known[-19:] == [1] * 19
