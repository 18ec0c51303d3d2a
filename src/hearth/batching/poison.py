"""Batches in which something fails: how they are taken apart, and how large they may be.

Where items break the model call again and again, large batches cost more than they
gain: each that fails is run again in parts. So the rate of culprits is watched, and
batches are kept to the size at which an answer is expected to cost least.
"""

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from hearth.errors import ModelFailed, OutOfMemory

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Run = Callable[[Sequence[Item]], Sequence[Answer | BaseException]]

_MEMORY = 128
"""Items after which a culprit is forgotten by two thirds."""
_SUSPICION = 0.02
"""Below this rate batches stay as they are."""


class Outcome(NamedTuple, Generic[Answer]):
    """What became of a batch."""

    answers: list[Answer | BaseException]
    """One for each item, in order."""
    runs: int
    culprits: int
    """Items that broke a call, and failed again alone."""
    fits: int | None
    """The largest part that memory may be enough for, where it was not."""


def attempt(run: Run[Item, Answer], items: Sequence[Item]) -> Outcome[Answer]:
    """Run a batch; where the call fails, its parts, until the culprit stands alone."""
    try:
        answers = list(run(items))
        if len(answers) != len(items):
            raise ModelFailed(f"{len(answers)} answers to {len(items)} items")
    except BaseException as error:  # also a panic in a native library: the owner lives on
        if len(items) == 1:
            return Outcome([error], 1, int(not _is_memory(error)), None)
        if _is_memory(error):
            halves = [attempt(run, part) for part in _halves(items)]
            return _joined(halves, fits=len(items) // 2)
    else:
        return Outcome(answers, 1, 0, None)
    # Outside the handler: what failed must not stay in the context of what comes now.
    return _taken_apart(run, items)


def _taken_apart(run: Run[Item, Answer], items: Sequence[Item]) -> Outcome[Answer]:
    """The parts of a batch that has failed as a whole."""
    left, right = _halves(items)
    first = attempt(run, left)
    if first.culprits or len(right) == 1:
        return _joined([first, attempt(run, right)])
    # Nobody on the left, so it is on the right: no use in running that whole again.
    return _joined([first, _taken_apart(run, right)])


def _halves(items: Sequence[Item]) -> tuple[Sequence[Item], Sequence[Item]]:
    middle = (len(items) + 1) // 2
    return items[:middle], items[middle:]


def _joined(parts: Sequence[Outcome[Answer]], fits: int | None = None) -> Outcome[Answer]:
    limits = [limit for limit in (fits, *(part.fits for part in parts)) if limit is not None]
    return Outcome(
        [answer for part in parts for answer in part.answers],
        1 + sum(part.runs for part in parts),
        sum(part.culprits for part in parts),
        min(limits, default=None),
    )


def _is_memory(error: BaseException) -> bool:
    return isinstance(error, OutOfMemory | MemoryError)


class Wariness:
    """Remembers how many items broke their batch, and how large batches should be."""

    def __init__(self) -> None:
        self.rate = 0.0
        """Of culprits among items, the recent ones counting most."""

    def note(self, items: int, culprits: int) -> None:
        """A batch is done."""
        share = min(1.0, items / _MEMORY)
        self.rate += share * (culprits / items - self.rate)

    def limit(self, largest: int, seconds: Callable[[int], float]) -> int:
        """The size of batch, at most ``largest``, at which an answer costs the least time."""
        if self.rate < _SUSPICION:
            return largest
        sizes = [largest]
        while sizes[-1] > 1:
            sizes.append(sizes[-1] // 2)
        return min(sizes, key=lambda size: self._cost(size, seconds) / size)

    def _cost(self, size: int, seconds: Callable[[int], float]) -> float:
        """Expected seconds until every item of a batch has its answer."""
        return seconds(size) + self._broken(size) * self._apart(size, seconds)

    def _apart(self, size: int, seconds: Callable[[int], float]) -> float:
        """Expected seconds to take a batch apart that has failed."""
        if size <= 1:
            return 0.0
        half = size // 2
        # How likely the culprit of the whole is in the left half; if it isn't, the right
        # half is known to be bad without a run.
        left = self._broken(half) / self._broken(size)
        return (
            seconds(half)
            + left * (self._apart(half, seconds) + self._cost(half, seconds))
            + (1 - left) * self._apart(half, seconds)
        )

    def _broken(self, size: int) -> float:
        return 1.0 - (1.0 - self.rate) ** size
