"""Batches are formed where their items were written, and never mix items up."""

import gc
import threading

import numpy as np
import pytest

from hearth.models.rows import BatchBuilder, BatchRow, Slab


def filled(rows, value):
    row = rows.take()
    row.array[...] = value
    return row


def values(stacked):
    """What each item holds, in the order of the items."""
    return [int(stacked.array[place].flat[0]) for place in stacked.places]


def in_slab(stacked, rows):
    return np.shares_memory(stacked.array, rows.array)


def test_rows_taken_one_after_another_are_a_batch_as_they_lie():
    rows = Slab(8, (2, 3), np.uint8)
    taken = [filled(rows, value) for value in range(5)]
    stacked = BatchBuilder().stack(taken[1:4], 3)
    assert in_slab(stacked, rows)
    assert stacked.array.shape == (3, 2, 3)
    assert stacked.array.flags.c_contiguous
    assert values(stacked) == [1, 2, 3]


@pytest.mark.parametrize("order", [[2, 1, 0, 3], [3, 2, 1, 0], [1, 3, 0, 2]], ids=str)
def test_neighbours_in_any_order_are_not_copied(order):
    rows = Slab(4, (2,), np.float32)
    taken = [filled(rows, value) for value in range(4)]
    stacked = BatchBuilder().stack([taken[index] for index in order], 4)
    assert in_slab(stacked, rows)
    assert values(stacked) == order


@pytest.mark.parametrize("chosen", [[0, 2], [0, 0, 1], [3, 1]], ids=str)
def test_rows_with_gaps_or_repeated_are_copied(chosen):
    rows = Slab(4, (2,), np.int64)
    taken = [filled(rows, value) for value in range(4)]
    stacked = BatchBuilder().stack([taken[index] for index in chosen], len(chosen))
    assert not in_slab(stacked, rows)
    assert values(stacked) == chosen


def test_rows_of_two_slabs_are_copied():
    one, other = Slab(2, (2,), np.uint8), Slab(2, (2,), np.uint8)
    first, _, second = filled(one, 1), filled(other, 7), filled(other, 2)
    assert values(BatchBuilder().stack([first, second], 2)) == [1, 2]


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_a_batch_is_filled_up_to_the_size_asked_for(count):
    rows = Slab(8, (2,), np.float32)
    taken = [filled(rows, value) for value in range(8)][-count:]
    stacked = BatchBuilder().stack(taken, 8)
    assert stacked.array.shape == (8, 2)
    assert values(stacked) == list(range(8 - count, 8))
    assert np.isfinite(stacked.array).all()


def test_a_batch_larger_than_the_slab_is_copied():
    rows = Slab(2, (2,), np.float32)
    stacked = BatchBuilder().stack([filled(rows, 1), filled(rows, 2)], 4)
    assert stacked.array[:, 0].tolist() == [1, 2, 2, 2]
    assert values(stacked) == [1, 2]


def test_arrays_stack_like_rows_and_together_with_them():
    rows = Slab(4, (3,), np.int32)
    items = [np.full(3, 5, np.int32), filled(rows, 6), np.full(3, 7, np.int32)]
    stacked = BatchBuilder().stack(items, 4)
    assert stacked.array.dtype == np.int32
    assert values(stacked) == [5, 6, 7]
    assert values(BatchBuilder().stack(items[:1], 1)) == [5]


def test_one_stacker_serves_batches_of_any_shape_in_turn():
    stacker = BatchBuilder()
    for shape, dtype, count in [((3,), np.int64, 5), ((2, 2), np.int64, 2), ((3,), np.float32, 7)]:
        stacked = stacker.stack([np.full(shape, value, dtype) for value in range(count)], count)
        assert stacked.array.shape == (count, *shape)
        assert stacked.array.dtype == dtype
        assert values(stacked) == list(range(count))


def test_copies_are_made_into_one_buffer():
    stacker = BatchBuilder()
    items = [np.zeros(4, np.float32)] * 8
    first = stacker.stack(items, 8).array
    assert np.shares_memory(first, stacker.stack(items[:3], 4).array)


def test_a_row_that_nobody_holds_comes_back():
    rows = Slab(2, (2,), np.uint8)
    held = [rows.take(), rows.take()]
    assert rows.take().slab is None
    held.pop()
    gc.collect()
    assert rows.take().slab is rows


def test_a_slab_that_is_used_up_still_gives_rows():
    for count in (0, 1):
        rows = Slab(count, (2, 2), np.float16)
        held = [filled(rows, value) for value in range(3)]
        assert [row.array.shape for row in held] == [(2, 2)] * 3
        assert values(BatchBuilder().stack(held, 3)) == [0, 1, 2]


def test_a_lone_client_always_writes_to_the_same_place():
    rows = Slab(8, (2,), np.uint8)
    assert {rows.take().index for _ in range(5)} == {0}


def test_batches_stay_whole_while_others_run():
    """Of two clients' rows, taken and given back by turns, each batch lies in one piece."""
    rows, stacker, running = Slab(16, (2,), np.uint8), BatchBuilder(), []
    in_place = 0
    for turn in range(40):
        taken = [filled(rows, turn) for _ in range(4)]
        in_place += in_slab(stacker.stack(taken, 4), rows)
        running = taken
    assert running
    assert in_place == 40


def test_threads_never_share_a_row():
    rows = Slab(5, (64,), np.int64)
    wrong = []

    def work(mine):
        for turn in range(300):
            held = [filled(rows, mine * 1000 + turn) for _ in range(3)]
            stacked = BatchBuilder().stack(held, 3)
            if (stacked.array != mine * 1000 + turn).any():
                wrong.append(stacked.array.copy())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert rows.free == b"\1" * 5


def test_a_row_that_is_collected_while_another_is_taken_locks_nothing():
    """A cycle with a row in it is collected wherever an allocation happens to trigger it."""
    rows = Slab(4, (2,), np.uint8)
    threshold = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        for _ in range(200):
            cycle = [rows.take()]
            cycle.append(cycle)
            del cycle
            assert isinstance(rows.take(), BatchRow)
    finally:
        gc.set_threshold(*threshold)
