"""The line of a queue: nobody is lost, interactive goes before bulk, and everybody has a turn."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
    run_state_machine_as_test,
)

from hearth.batching.fair_queue import MOST_OVERTAKEN, FairQueue


class Waiting:
    """What stands in a line; ``since`` counts up."""

    born = 0

    def __init__(self, key: Any = "k", source: Any = "s", interactive: bool = False) -> None:
        Waiting.born += 1
        self.key, self.source, self.interactive = key, source, interactive
        self.since = float(Waiting.born)
        self.dead = False

    def __repr__(self) -> str:
        return f"{'!' * self.interactive}{self.source}{self.key}{self.since:.0f}{'†' * self.dead}"


def is_dead(entry: Waiting) -> bool:
    return entry.dead


def alone(interactive: int) -> int:
    return interactive


def line_of(*entries: Waiting) -> FairQueue[Waiting]:
    line: FairQueue[Waiting] = FairQueue()
    for entry in entries:
        line.push(entry)
    return line


def sources(batch: list[Waiting]) -> str:
    return "".join(entry.source for entry in batch)


# --- whose turn it is -----------------------------------------------------------------------


def test_entries_of_one_source_keep_their_order():
    entries = [Waiting() for _ in range(5)]
    line = line_of(*entries)
    assert line.take(3, is_dead) == entries[:3]
    assert line.take(3, is_dead) == entries[3:]
    assert line.take(3, is_dead) == []


def test_sources_take_turns_within_a_batch_and_from_batch_to_batch():
    line = line_of(*(Waiting(source="a") for _ in range(9)))
    for source in "bc":
        line.push(Waiting(source=source))
        line.push(Waiting(source=source))
    assert sources(line.take(4, is_dead)) == "abca"
    assert sources(line.take(4, is_dead)) == "bcaa"


def test_a_newcomer_waits_for_a_turn_and_not_for_those_with_many_entries():
    line = line_of(*(Waiting(source="a") for _ in range(5000)))
    line.take(8, is_dead)
    line.push(Waiting(source="b"))
    assert "b" in sources(line.take(2, is_dead))


def test_a_newcomer_among_many_waits_for_a_round_at_most():
    line = line_of(*(Waiting(source=source) for source in "abcdefghij" * 9))
    line.take(4, is_dead)
    line.push(Waiting(source="z"))
    taken = [sources(line.take(4, is_dead)) for _ in range(3)]
    assert taken == ["efgh", "ijab", "cdze"]


def test_urgent_entries_go_first():
    line = line_of(Waiting(source="b"), Waiting(source="u", interactive=True), Waiting(source="b"))
    assert sources(line.take(3, is_dead)) == "u"
    assert sources(line.take(3, is_dead)) == "bb"


def test_bulk_fills_up_an_urgent_batch_where_it_costs_little():
    line = line_of(*(Waiting(source="b") for _ in range(5)), Waiting(source="u", interactive=True))
    assert sources(line.take(8, is_dead, lambda interactive: interactive + 2)) == "ubb"


def test_bulk_has_its_turn_however_much_is_urgent():
    line = line_of(Waiting(source="b"))
    batches = []
    for _ in range(2 * MOST_OVERTAKEN):
        for _ in range(4):
            line.push(Waiting(source="u", interactive=True))
        batches.append(sources(line.take(2, is_dead)))
    assert batches.index("bu") == MOST_OVERTAKEN


def test_bulk_of_one_key_isnt_forgotten_while_that_of_another_rides_along():
    line = line_of(Waiting("rare", "b"))
    for _ in range(2 * (MOST_OVERTAKEN + 1)):
        line.push(Waiting("often", "u", interactive=True))
        line.push(Waiting("often", "c"))
        if "rare" in [
            entry.key for entry in line.take(2, is_dead, lambda interactive: interactive + 1)
        ]:
            return
    pytest.fail("never had its turn")


def test_what_one_source_sends_of_another_key_doesnt_hold_up_its_eldest():
    line = line_of(*(Waiting("often", "b") for _ in range(3)), Waiting("rare", "a"))
    for _ in range(10):
        line.push(Waiting("often", "b"))
        line.push(Waiting("often", "a"))
        if "rare" in [entry.key for entry in line.take(2, is_dead)]:
            return
    pytest.fail("never had its turn")


def test_bulk_that_is_dead_when_its_turn_comes_keeps_nobody_waiting():
    bulk = Waiting(source="b")
    line = line_of(bulk)
    for _ in range(MOST_OVERTAKEN):
        line.push(Waiting(source="u", interactive=True))
        assert sources(line.take(1, is_dead)) == "u"
    bulk.dead = True
    line.push(Waiting(source="u", interactive=True))
    assert sources(line.take(1, is_dead)) == "u"


def test_the_next_one_is_one_that_is_admitted():
    line = line_of(Waiting(source="a"), Waiting(source="b"), Waiting(source="u", interactive=True))
    entry = line.next(lambda entry: entry.source == "b", is_dead)
    assert entry is not None and entry.source == "b"
    assert line.next(lambda entry: entry.source == "b", is_dead) is None
    assert line.count == 2


def test_bulk_has_its_turn_among_single_urgent_entries():
    line = line_of(Waiting(source="b"))
    taken = ""
    for _ in range(2 * MOST_OVERTAKEN):
        line.push(Waiting(source="u", interactive=True))
        entry = line.next(lambda _: True, is_dead)
        taken += entry.source if entry else ""
    assert taken.index("b") == MOST_OVERTAKEN


# --- whatever happens -----------------------------------------------------------------------

KEYS = st.sampled_from("xy")
SOURCES = st.sampled_from("abc")
LIMITS = st.integers(1, 5)


class Lines(RuleBasedStateMachine):
    """A line beside the plain list of those who wait in it."""

    entries = Bundle("entries")

    def __init__(self) -> None:
        super().__init__()
        self.line: FairQueue[Waiting] = FairQueue()
        self.waiting: list[Waiting] = []
        self.asked: Counter[Waiting] = Counter()

    def is_dead(self, entry: Waiting) -> bool:
        self.asked[entry] += 1
        if entry.dead:
            self.waiting.remove(entry)
        return entry.dead

    @rule(target=entries, key=KEYS, source=SOURCES, interactive=st.booleans())
    def push(self, key, source, interactive):
        entry = Waiting(key, source, interactive)
        self.line.push(entry)
        self.waiting.append(entry)
        return entry

    @rule(entry=entries)
    def die(self, entry):
        entry.dead = True

    @rule(entry=consumes(entries))
    def remove(self, entry):
        assert self.line.remove(entry) is (entry in self.waiting)
        assert self.line.remove(entry) is False
        if entry in self.waiting:
            self.waiting.remove(entry)

    @rule(keys=st.sets(KEYS))
    def next(self, keys):
        heads = {
            (entry.interactive, entry.source): entry for entry in reversed(self.waiting)
        }  # the eldest of each
        entry = self.line.next(lambda entry: entry.key in keys, self.is_dead)
        if entry is None:
            assert not any(head.key in keys and not head.dead for head in heads.values())
        else:
            assert entry.key in keys and not entry.dead
            elder = [
                other
                for other in self.waiting
                if other.source == entry.source and other.interactive == entry.interactive
            ]
            assert elder[0] is entry
            self.waiting.remove(entry)

    @rule(limit=LIMITS, extra=st.integers(0, 3))
    def take(self, limit, extra):
        batch = self.line.take(limit, self.is_dead, lambda interactive: interactive + extra)
        assert len(batch) <= limit
        assert len(set(batch)) == len(batch)
        for entry in batch:
            assert not entry.dead
            self.waiting.remove(entry)
        if not batch:
            assert not self.waiting
            return
        [key] = {entry.key for entry in batch}
        like = [entry for entry in self.waiting if entry.key == key and not entry.dead]
        if len(batch) < limit:
            # All of the class whose turn it was came along, and none of the other that fits.
            assert not any(entry.interactive is batch[0].interactive for entry in like)
            assert not (like and not batch[0].interactive)
            interactive = sum(entry.interactive for entry in batch)
            assert not like or len(batch) >= min(limit, interactive + extra)
        for kind in (True, False):
            self.check_turns(
                [entry for entry in batch if entry.interactive is kind],
                {entry.source for entry in like if entry.interactive is kind},
            )

    @staticmethod
    def check_turns(taken, still_waiting):
        shares = Counter(entry.source for entry in taken)
        for source in still_waiting:
            assert shares[source] >= max(shares.values(), default=0) - 1
        for source in shares:
            order = [entry.since for entry in taken if entry.source == source]
            assert order == sorted(order)

    @rule()
    def clear(self):
        everybody = self.line.clear()
        assert sorted(everybody, key=id) == sorted(self.waiting, key=id)
        self.waiting.clear()

    @invariant()
    def nobody_is_lost(self):
        assert self.line.count == len(self.waiting)
        assert all(count == 1 for count in self.asked.values())


def test_nobody_is_lost_or_doubled_and_batches_are_fair_and_full():
    run_state_machine_as_test(
        Lines, settings=settings(max_examples=150, stateful_step_count=30, deadline=None)
    )


CROWD = st.lists(st.tuples(KEYS, SOURCES, st.booleans()), max_size=6)


@settings(max_examples=150, deadline=None)
@given(
    early=st.lists(st.tuples(KEYS, SOURCES), max_size=10),
    arrivals=st.lists(CROWD, min_size=1, max_size=6),
    limit=LIMITS,
    extra=st.integers(0, 3),
)
def test_nobody_starves_whatever_comes_after_them(early, arrivals, limit, extra):
    line = line_of(*(Waiting(key, source) for key, source in early))
    target = Waiting("x", "a")
    line.push(target)
    ahead = 1 + sum(source == "a" for _, source in early)
    # At the worst each of the three sources' turns is overtaken as often as can be.
    for turn in range(ahead * 3 * (MOST_OVERTAKEN + 1)):
        for key, source, interactive in arrivals[turn % len(arrivals)]:
            line.push(Waiting(key, source, interactive))
        if target in line.take(limit, is_dead, lambda interactive: interactive + extra):
            return
    pytest.fail("starved")
