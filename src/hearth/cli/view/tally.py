"""How far a watch has come."""

import time
from collections import deque

SPAN = 30
"""Frames over which the rate is taken."""


class Tally:
    """Counts frames, and how fast they come."""

    def __init__(self) -> None:
        self.answered = self.failed = 0
        self.refused = 0
        """Dropped by the node, for newer ones."""
        self.skipped = 0
        """Overtaken by newer ones before they could be sent."""
        self._began: float | None = None
        self._last = 0.0
        self._times: deque[float] = deque(maxlen=SPAN)

    def answer(self) -> None:
        """A frame was answered and shown."""
        now = time.monotonic()
        if self._began is None:
            self._began = now
        self._last = now
        self._times.append(now)
        self.answered += 1

    @property
    def dropped(self) -> int:
        """Frames of a live source that weren't looked at."""
        return self.refused + self.skipped

    @property
    def rate(self) -> float:
        """Frames a second of late; 0 where there is too little to tell."""
        return _rate(len(self._times), self._times[-1] - self._times[0]) if self._times else 0.0

    @property
    def seconds(self) -> float:
        """Between the first answer and the last."""
        return 0.0 if self._began is None else self._last - self._began

    def summary(self) -> str:
        """One line: what became of the frames, at which rate."""
        rate = _rate(self.answered, self.seconds)
        parts = [f"{self.answered} frame{'' if self.answered == 1 else 's'}"]
        parts += [f"{rate:.1f} a second"] if rate else []
        parts += [f"{self.dropped} dropped"] if self.dropped else []
        parts += [f"{self.failed} failed"] if self.failed else []
        return ", ".join(parts)


def _rate(count: int, seconds: float) -> float:
    return (count - 1) / seconds if count > 1 and seconds > 0 else 0.0
