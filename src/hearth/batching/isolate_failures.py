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
"""Rate below which batches stay as they are."""


class BatchOutcome(NamedTuple, Generic[Answer]):
    """Answers of a batch, and what they cost."""

    answers: list[Answer | BaseException]
    """One for each item, in order."""
    runs: int
    culprits: int
    """Items that broke a call, and failed again alone."""
    fits: int | None
    """The largest part that memory may be enough for, where it was not."""


def isolate_failures(run: Run[Item, Answer], items: Sequence[Item]) -> BatchOutcome[Answer]:
    """Run a batch; where the call fails, its parts, until the culprit stands alone."""
    try:
        answers = list(run(items))
        if len(answers) != len(items):
            raise ModelFailed(f"{len(answers)} answers to {len(items)} items")
    except BaseException as error:  # also a panic in a native library: the owner lives on
        if len(items) == 1:
            return BatchOutcome([error], 1, int(not _is_memory(error)), None)
        no_room = _is_memory(error)
    else:
        return BatchOutcome(answers, 1, 0, None)
    # Outside the handler: what failed must not stay in the context of what comes now, nor
    # its frames keep the memory that the parts need.
    if no_room:
        halves = _halves(items)
        parts = [isolate_failures(run, half) for half in halves]
        if any(_is_memory(answer) for part in parts for answer in part.answers):
            # An item that doesn't fit alone says nothing of how many others do.
            return _joined(parts, runs=1)._replace(fits=None)
        return _joined(parts, runs=1, fits=len(halves[0]))
    return _run_halves(run, items, runs=1)


def _run_halves(run: Run[Item, Answer], items: Sequence[Item], runs: int) -> BatchOutcome[Answer]:
    """Run the parts of a batch that fails as a whole, as ``runs`` have shown (0: as is known)."""
    left, right = _halves(items)
    first = isolate_failures(run, left)
    if first.culprits or len(right) == 1:
        return _joined([first, isolate_failures(run, right)], runs)
    # Nobody on the left, so it is on the right: no use in running that whole again.
    return _joined([first, _run_halves(run, right, runs=0)], runs)


def _halves(items: Sequence[Item]) -> tuple[Sequence[Item], Sequence[Item]]:
    middle = (len(items) + 1) // 2
    return items[:middle], items[middle:]


def _joined(
    parts: Sequence[BatchOutcome[Answer]], runs: int, fits: int | None = None
) -> BatchOutcome[Answer]:
    limits = [limit for limit in (fits, *(part.fits for part in parts)) if limit is not None]
    return BatchOutcome(
        [answer for part in parts for answer in part.answers],
        runs + sum(part.runs for part in parts),
        sum(part.culprits for part in parts),
        min(limits, default=None),
    )


def _is_memory(error: object) -> bool:
    return isinstance(error, OutOfMemory | MemoryError)


class FailureRate:
    """Rate of items that broke their batch lately, and the size that batches should have for it."""

    def __init__(self) -> None:
        self.rate = 0.0
        """Share of culprits among items, the recent ones counting most."""

    def note(self, items: int, culprits: int) -> None:
        """Count a batch."""
        share = min(1.0, items / _MEMORY)
        self.rate += share * (culprits / items - self.rate)

    def limit(self, largest: int, seconds: Callable[[int], float]) -> int:
        """Return the size, at most ``largest``, at which an answer costs the least time."""
        if self.rate < _SUSPICION:
            return largest
        sizes = [largest]
        while sizes[-1] > 1:
            sizes.append(sizes[-1] // 2)
        whole = apart = 0.0  # expected seconds for a half: to answer it, to take it apart
        best, least = 1, float("inf")
        for size in reversed(sizes):
            if size > 1:
                # If the culprit isn't in the left half, the right one is known to be bad.
                left = self._broken(size // 2) / self._broken(size)
                apart = seconds(size // 2) + apart + left * whole
            whole = seconds(size) + self._broken(size) * apart
            if whole / size < least:
                best, least = size, whole / size
        return best

    def _broken(self, size: int) -> float:
        """Return how likely a batch of this size holds a culprit."""
        return 1.0 - (1.0 - self.rate) ** size
