"""How fast a node does a task, and whether it rests from it."""

import math
import random

SLOWER, FASTER = 0.2, 0.5
"""Weights of the newest measurement in the average. Few requests at a time show too little of
a node that makes batches, and one that has just begun is slow: good news counts for more."""
OLD_SECONDS = 30.0
"""After which a measurement says little: one answer that took long, of a model that had to warm
up, must not keep work from a node for ever."""
MOST_FAILURES = 3
"""Failures in a row after which a node rests."""
FIRST_REST, LONGEST_REST = 0.1, 30.0
"""Seconds; each rest without an answer after it is twice as long."""
FLOOR, LONGEST_FLOOR = 0.01, 1.0
"""Seconds of rest, however soon a node wants to be asked again: it grows alike."""


class Pace:
    """Of one task at one node; times are seconds of the loop's clock."""

    __slots__ = (
        "_count",
        "_failures",
        "_measured",
        "_rests",
        "is_doubted",
        "rest_until",
        "seconds",
    )

    def __init__(self) -> None:
        self.seconds: float | None = None
        """For one request, with those that were ahead of it done meanwhile; None: unknown."""
        self.rest_until = 0.0
        self.is_doubted = False
        """Whether it rests for its failures: it may be asked where there is no other."""
        self._measured = -math.inf
        self._failures = self._rests = 0

    def is_old(self, now: float) -> bool:
        """Whether the time is to be measured anew."""
        return now - self._measured > OLD_SECONDS

    def answered(self, took: float, ahead: int, now: float) -> None:
        """It answered, after ``took`` seconds, with ``ahead`` other requests before this one."""
        sample = took / (ahead + 1)
        before = None if self.is_old(now) else self.seconds
        self._measured = now
        if before is None:
            self.seconds = sample
        else:
            weight = FASTER if sample < before else SLOWER
            self.seconds = before + weight * (sample - before)
        self._failures = self._rests = 0

    def late(self, took: float, ahead: int, now: float) -> None:
        """It hasn't answered for so long, and nobody waits any more."""
        sample = took / (ahead + 1)
        if self.seconds is None or self.is_old(now) or sample > self.seconds:
            self.seconds, self._measured = sample, now

    def failed(self, now: float) -> None:
        """It failed at a request; it rests after some failures in a row."""
        self._failures += 1
        if self._failures >= MOST_FAILURES and now >= self.rest_until:
            self.refused(now)
            self.is_doubted = True

    def refused(self, now: float, retry_after: float | None = None) -> bool:
        """It is to be left alone for a while: as long as it says, or longer each time.

        Returns whether that is news: requests that were on their way together are refused
        together.
        """
        if now < self.rest_until and not self.is_doubted:
            return False
        if retry_after is None:
            retry_after = min(LONGEST_REST, FIRST_REST * 2**self._rests)
        else:
            retry_after = max(retry_after, min(LONGEST_FLOOR, FLOOR * 2**self._rests))
        self._rests = min(self._rests + 1, 16)
        self.is_doubted = False
        # Clients that were refused together don't come back together.
        self.rest_until = now + retry_after * random.uniform(1.0, 1.25)
        return True

    def wake(self) -> None:
        """It may be asked again at once."""
        self.rest_until = 0.0
        self._failures = self._rests = 0
