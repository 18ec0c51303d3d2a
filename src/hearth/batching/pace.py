"""How large batches are, and how long they take: what a queue knows of its callable."""

from collections.abc import Sequence
from typing import Any

from hearth.batching.latency_profile import LatencyProfile
from hearth.batching.plan import first_sizes
from hearth.batching.poison import Outcome, Wariness

_COMPANY = 1.25
"""Factor by which bulk that fills up a batch of interactive items may make it longer."""
_SMOOTHING = 0.2
_FRESH_SECONDS = 1.0
"""So long after a batch, the time of the next one can be foretold."""


class Pace:
    """The sizes of one queue's batches; used under its lock.

    ``sizes`` are the only ones that run, ascending; none: any do.
    """

    def __init__(self, max_batch: int, sizes: Sequence[int] = ()) -> None:
        self.profile: LatencyProfile | None = None
        self._sizes = tuple(sizes)
        self._wanted = self._runnable(max_batch)
        self.free_since = 0.0
        """When the last batch ended, on the clock of ``time.monotonic()``."""
        self._fits: int | None = None
        self._slowness = 1.0
        """How much longer batches take than was measured, lately."""
        self._usual: float | None = None
        """Seconds of a batch, lately."""
        self._wariness = Wariness()
        self._firsts: list[int] = []
        self._plan()

    @property
    def max_batch(self) -> int:
        """The largest batch, memory considered."""
        return self._wanted if self._fits is None else min(self._wanted, self._fits)

    def tune(self, profile: LatencyProfile, max_batch: int | None) -> None:
        """See ``BatchQueue.tune``."""
        self.profile = profile
        self._wanted = self._runnable(max_batch or profile.best())
        self._plan()

    def shrink(self, fits: int) -> bool:
        """Memory is enough for so many; whether that makes a difference."""
        before = self.max_batch
        self._fits = self._runnable(max(1, fits))
        self._plan()
        return self.max_batch < before

    def note(self, size: int, began: float, ended: float, outcome: Outcome[Any]) -> None:
        """A batch is done."""
        self.free_since = ended
        seconds = ended - began
        self._wariness.note(size, outcome.culprits)
        if outcome.runs == 1:
            # One batch that took a hundred times as long tells of a hiccup: it counts as two.
            usual = self._usual or seconds
            self._usual = usual + _SMOOTHING * (min(seconds, 2 * usual) - usual)
            if self.profile is not None:
                ratio = seconds / self.profile.seconds(self._padded(size))
                self._slowness += _SMOOTHING * (min(ratio, 2 * self._slowness) - self._slowness)

    def limit(self, waiting: int) -> int:
        """How many of those that wait to take now."""
        if self._firsts:
            return self._firsts[min(waiting, len(self._firsts) - 1)]
        return self._wariness.limit(self.max_batch, self.profile.seconds if self.profile else float)

    def _plan(self) -> None:
        """Know the fixed size to run first, however many wait."""
        if self._sizes:
            sizes = [size for size in self._sizes if size <= self.max_batch] or self._sizes[:1]
            self._firsts = first_sizes(sizes, self.profile.seconds if self.profile else None)

    def company(self, interactive: int) -> int:
        """To which size ``interactive`` items may be filled up with others."""
        if self.profile is None:
            return interactive
        bearable = _COMPANY * self.profile.seconds(self._padded(interactive))
        size = interactive
        while size < self.max_batch and self.profile.seconds(self._padded(size + 1)) <= bearable:
            size += 1
        return size

    def forecast(self, size: int, now: float) -> float:
        """How long a batch would take now; 0 where nothing is known, or nothing of late.

        An old forecast may be far too long. Were it believed, requests in a hurry would
        be refused for ever, and no batch would run to correct it.
        """
        if now - self.free_since > _FRESH_SECONDS:
            return 0.0
        if self.profile is None:
            return self._usual or 0.0
        return self.profile.seconds(self._padded(size)) * self._slowness

    def patience(self, waiting: int) -> float:
        """Seconds after which a full queue is likely to have room: half of it done."""
        batch = self._usual or 0.05
        return min(max(batch * waiting / self.max_batch / 2, 0.05), 30.0)

    def sizes_to_measure(self, largest: int) -> list[int]:
        """1, 2, 4, … and ``largest`` itself; or the fixed sizes."""
        if self._sizes:
            return [size for size in self._sizes if size <= largest] or list(self._sizes[:1])
        sizes = [1]
        while 2 * sizes[-1] < largest:
            sizes.append(2 * sizes[-1])
        return sizes if largest <= 1 else [*sizes, largest]

    def _padded(self, size: int) -> int:
        return next((known for known in self._sizes if known >= size), size)

    def _runnable(self, wanted: int) -> int:
        if not self._sizes:
            return wanted
        return max((size for size in self._sizes if size <= wanted), default=self._sizes[0])
