"""A queue that is fair: interactive before bulk, and sources in turns.

Not thread-safe: the lock of its ``BatchQueue`` is held around every call.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, Protocol, TypeVar

MOST_OVERTAKEN = 8
"""Batches (or single entries) that may pass waiting bulk before it has its turn."""


class Queueable(Protocol):
    """Entry as a fair queue looks at it."""

    @property
    def key(self) -> Hashable: ...
    @property
    def source(self) -> Hashable: ...
    @property
    def interactive(self) -> bool: ...
    @property
    def since(self) -> float: ...


Entry = TypeVar("Entry", bound=Queueable)
Judge = Callable[[Entry], bool]


def _no_company(interactive: int) -> int:
    return interactive


class FairQueue(Generic[Entry]):
    """Entries that wait, in two classes: interactive ones and bulk."""

    def __init__(self) -> None:
        self.count = 0
        """Entries that wait."""
        self._interactive: RoundRobin[Entry] = RoundRobin()
        self._bulk: RoundRobin[Entry] = RoundRobin()
        self._overtaken = 0

    def push(self, entry: Entry) -> None:
        """Put an entry behind all others of its source and class."""
        (self._interactive if entry.interactive else self._bulk).push(entry)
        self.count += 1

    def remove(self, entry: Entry) -> bool:
        """Take one entry out of the middle; False where it isn't here."""
        removed = (self._interactive if entry.interactive else self._bulk).remove(entry)
        self.count -= removed
        return removed

    def of_source(self, source: Hashable) -> int:
        """Count the entries of a source."""
        return self._interactive.of_source(source) + self._bulk.of_source(source)

    def clear(self) -> list[Entry]:
        """Take all entries out."""
        entries = [*self._interactive, *self._bulk]
        self._interactive, self._bulk = RoundRobin(), RoundRobin()
        self.count = 0
        return entries

    def next(self, admits: Judge[Entry] | None, dead: Judge[Entry]) -> Entry | None:
        """Take the next entry out, of the sources whose eldest entry ``admits`` (None: of all).

        ``dead`` is asked once for each entry that would be taken; one that it
        condemns has left the queue.
        """
        interactive, bulk = self._interactive, self._bulk
        waited = bulk.count > 0
        bulks_turn = waited and self._overtaken >= MOST_OVERTAKEN
        entry = None
        if not bulks_turn and interactive.count:
            entry = interactive.next(admits, dead)
        if entry is not None:
            self._overtaken = self._overtaken + 1 if waited else 0
        else:
            self._overtaken = 0
            if waited:
                entry = bulk.next(admits, dead)
            if entry is None and bulks_turn:
                entry = interactive.next(admits, dead)
        self.count = interactive.count + bulk.count
        return entry

    def take(
        self, limit: int, dead: Judge[Entry], company: Callable[[int], int] = _no_company
    ) -> list[Entry]:
        """Take a batch: up to ``limit`` entries that share a key, chosen by whose turn it is.

        ``company`` says to which size interactive entries may be filled up with bulk. The dead
        are dropped, as in ``next``; empty where nobody living waits.
        """
        interactive, bulk = self._interactive, self._bulk
        batch: list[Entry] = []
        if interactive.count and not (bulk.count and self._overtaken >= MOST_OVERTAKEN):
            batch = interactive.take(limit, dead)
        if batch:
            overtook = False
            if bulk.count:
                next_in_turn = bulk.head()
                room = min(limit, company(len(batch))) - len(batch)
                joined = bulk.join(batch[0].key, room, dead)
                overtook = next_in_turn not in joined
                batch += joined
            self._overtaken = self._overtaken + 1 if overtook else 0
        else:
            self._overtaken = 0
            batch = bulk.take(limit, dead)
            if not batch:
                batch = interactive.take(limit, dead)
            elif interactive.count:
                batch += interactive.join(batch[0].key, limit - len(batch), dead)
        self.count = interactive.count + bulk.count
        return batch

    def eldest(self) -> float:
        """Return since when the next interactive entry waits, or else of bulk; there is one."""
        return (self._interactive if self._interactive.count else self._bulk).head().since


class RoundRobin(Generic[Entry]):
    """One class of entries: sources in turns, and of each source the eldest first."""

    def __init__(self) -> None:
        self.count = 0
        """Entries that wait."""
        # By source and key, in the order of arrival: OrderedDicts, because entries
        # leave from the front and from the middle, both at once.
        self._sources: OrderedDict[Hashable, dict[Hashable, OrderedDict[Entry, None]]] = (
            OrderedDict()
        )

    def __iter__(self) -> Iterator[Entry]:
        for keys in self._sources.values():
            for entries in keys.values():
                yield from entries

    def push(self, entry: Entry) -> None:
        """Put an entry behind all others of its source."""
        keys = self._sources.setdefault(entry.source, {})
        keys.setdefault(entry.key, OrderedDict())[entry] = None
        self.count += 1

    def remove(self, entry: Entry) -> bool:
        """Take an entry out; False where it isn't here."""
        keys = self._sources.get(entry.source, {})
        entries = keys.get(entry.key)
        if entries is None or entry not in entries:
            return False
        del entries[entry]
        self.count -= 1
        if not entries:
            del keys[entry.key]
        if not keys:
            del self._sources[entry.source]
        return True

    def of_source(self, source: Hashable) -> int:
        """Count the entries of a source."""
        return sum(len(entries) for entries in self._sources.get(source, {}).values())

    def head(self) -> Entry:
        """Return the eldest entry of the source whose turn is next."""
        return _eldest(next(iter(self._sources.values())))

    def next(self, admits: Judge[Entry] | None, dead: Judge[Entry]) -> Entry | None:
        """Take the next living entry out; None where there is none that ``admits``."""
        for source in list(self._sources):
            while (keys := self._sources.get(source)) is not None:
                entry = _eldest(keys)
                if admits is not None and not admits(entry):
                    break
                self.remove(entry)
                if dead(entry):
                    continue
                if source in self._sources:
                    self._sources.move_to_end(source)
                return entry
        return None

    def take(self, limit: int, dead: Judge[Entry]) -> list[Entry]:
        """Take up to ``limit`` living entries: whose turn it is, and those with the same key."""
        first = self.next(None, dead)
        if first is None:
            return []
        if not self.count or limit < 2:
            return [first]
        return [first, *self.join(first.key, limit - 1, dead)]

    def join(self, key: Hashable, room: int, dead: Judge[Entry]) -> list[Entry]:
        """Take up to ``room`` living entries with this key, sources in turns."""
        joined: list[Entry] = []
        before = -1
        while before < len(joined) < room:
            before = len(joined)
            for source in list(self._sources):
                if len(joined) < room and (entry := self._pop(source, key, dead)) is not None:
                    joined.append(entry)
        return joined

    def _pop(self, source: Hashable, key: Hashable, dead: Judge[Entry]) -> Entry | None:
        while entries := self._sources.get(source, {}).get(key):
            entry = next(iter(entries))
            # A source whose eldest entry has another key still waits for its turn: else
            # that one might wait for ever, while younger ones come along with others.
            was_its_turn = entry is _eldest(self._sources[source])
            self.remove(entry)
            if not dead(entry):
                if was_its_turn and source in self._sources:
                    self._sources.move_to_end(source)
                return entry
        return None


def _eldest(keys: dict[Hashable, OrderedDict[Entry, None]]) -> Entry:
    if len(keys) == 1:
        return next(iter(next(iter(keys.values()))))
    return min((next(iter(entries)) for entries in keys.values()), key=lambda entry: entry.since)
