"""A line to wait in that is fair: interactive before bulk, and sources in turns.

Not thread-safe: a queue holds its lock around every call.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, Protocol, TypeVar

MOST_OVERTAKEN = 8
"""So many batches (or single entries) may pass waiting bulk before it has its turn."""


class Waits(Protocol):
    """What the line looks at."""

    @property
    def key(self) -> Hashable: ...
    @property
    def source(self) -> Hashable: ...
    @property
    def interactive(self) -> bool: ...
    @property
    def since(self) -> float: ...


Entry = TypeVar("Entry", bound=Waits)
Judge = Callable[[Entry], bool]


class Line(Generic[Entry]):
    """Entries that wait."""

    def __init__(self) -> None:
        self._interactive: _Turns[Entry] = _Turns()
        self._bulk: _Turns[Entry] = _Turns()
        self._overtaken = 0

    def __len__(self) -> int:
        return len(self._interactive) + len(self._bulk)

    def push(self, entry: Entry) -> None:
        """To the end of its source's line."""
        (self._interactive if entry.interactive else self._bulk).push(entry)

    def remove(self, entry: Entry) -> bool:
        """Take one entry out of the middle; False where it isn't here."""
        return (self._interactive if entry.interactive else self._bulk).remove(entry)

    def of_source(self, source: Hashable) -> int:
        """How many entries of a source wait."""
        return self._interactive.of_source(source) + self._bulk.of_source(source)

    def clear(self) -> list[Entry]:
        """Everybody leaves."""
        entries = [*self._interactive, *self._bulk]
        self._interactive, self._bulk = _Turns(), _Turns()
        return entries

    def next(self, admits: Judge[Entry], dead: Judge[Entry]) -> Entry | None:
        """The next entry whose head of a source's line ``admits``; the dead are dropped.

        ``dead`` is asked once for each entry that would be taken; one that it
        condemns has left the line.
        """
        waited = bool(self._bulk)
        overtakes = not (waited and self._overtaken >= MOST_OVERTAKEN)
        if overtakes and (entry := self._interactive.next(admits, dead)) is not None:
            self._overtaken = self._overtaken + 1 if waited else 0
            return entry
        self._overtaken = 0
        if (entry := self._bulk.next(admits, dead)) is not None or overtakes:
            return entry
        return self._interactive.next(admits, dead)

    def take(
        self,
        limit: int,
        dead: Judge[Entry],
        company: Callable[[int], int] = lambda interactive: interactive,
    ) -> list[Entry]:
        """A batch: up to ``limit`` entries that share a key, chosen by whose turn it is.

        ``company`` says to which size interactive entries may be filled up with bulk. The dead
        are dropped, as in ``next``; empty where nobody living waits.
        """
        if not (self._bulk and self._overtaken >= MOST_OVERTAKEN):
            batch = self._interactive.take(limit, dead)
            if batch:
                next_in_turn = self._bulk.head() if self._bulk else None
                room = min(limit, company(len(batch)))
                bulk = self._bulk.join(batch[0].key, room - len(batch), dead)
                overtook = next_in_turn is not None and next_in_turn not in bulk
                self._overtaken = self._overtaken + 1 if overtook else 0
                return batch + bulk
        self._overtaken = 0
        batch = self._bulk.take(limit, dead)
        if not batch:
            return self._interactive.take(limit, dead)
        return batch + self._interactive.join(batch[0].key, limit - len(batch), dead)

    def eldest(self) -> float:
        """Since when the first of the interactive entries waits, or of bulk; there is one."""
        return (self._interactive or self._bulk).head().since


class _Turns(Generic[Entry]):
    """One class of entries: sources in turns, and of each source the eldest first."""

    def __init__(self) -> None:
        # By source and key, in the order of arrival: OrderedDicts, because entries
        # leave from the front and from the middle, both at once.
        self._sources: OrderedDict[Hashable, dict[Hashable, OrderedDict[Entry, None]]] = (
            OrderedDict()
        )
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Entry]:
        for keys in self._sources.values():
            for entries in keys.values():
                yield from entries

    def push(self, entry: Entry) -> None:
        keys = self._sources.setdefault(entry.source, {})
        keys.setdefault(entry.key, OrderedDict())[entry] = None
        self._count += 1

    def remove(self, entry: Entry) -> bool:
        keys = self._sources.get(entry.source, {})
        entries = keys.get(entry.key)
        if entries is None or entry not in entries:
            return False
        del entries[entry]
        self._count -= 1
        if not entries:
            del keys[entry.key]
        if not keys:
            del self._sources[entry.source]
        return True

    def of_source(self, source: Hashable) -> int:
        return sum(len(entries) for entries in self._sources.get(source, {}).values())

    def head(self) -> Entry:
        """The eldest entry of the source whose turn is next."""
        return _eldest(next(iter(self._sources.values())))

    def next(self, admits: Judge[Entry], dead: Judge[Entry]) -> Entry | None:
        for source in list(self._sources):
            while (keys := self._sources.get(source)) is not None:
                entry = _eldest(keys)
                if not admits(entry):
                    break
                self.remove(entry)
                if dead(entry):
                    continue
                self._had_turn(source)
                return entry
        return None

    def take(self, limit: int, dead: Judge[Entry]) -> list[Entry]:
        """Up to ``limit`` living entries: whose turn it is, and those with the same key."""
        first = self.next(_anybody, dead)
        return [] if first is None else [first, *self.join(first.key, limit - 1, dead)]

    def join(self, key: Hashable, room: int, dead: Judge[Entry]) -> list[Entry]:
        """Up to ``room`` living entries with this key, sources in turns."""
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
                if was_its_turn:
                    self._had_turn(source)
                return entry
        return None

    def _had_turn(self, source: Hashable) -> None:
        if source in self._sources:
            self._sources.move_to_end(source)


def _eldest(keys: dict[Hashable, OrderedDict[Entry, None]]) -> Entry:
    if len(keys) == 1:
        return next(iter(next(iter(keys.values()))))
    return min((next(iter(entries)) for entries in keys.values()), key=lambda entry: entry.since)


def _anybody(_: object) -> bool:
    return True
