"""Speed of a node at a task, and its rests from it."""

import math
import random
from typing import NamedTuple

SLOWER, FASTER = 0.2, 0.5
"""Weights of the newest measurement in the average. Few requests at a time show too little of
a node that makes batches, and one that has just begun is slow: good news counts for more."""
MAX_FAILURES = 3
"""Failures in a row after which a node rests."""
FIRST_REST, LONGEST_REST = 0.1, 30.0
"""Seconds; each rest without an answer after it is twice as long."""
FLOOR, LONGEST_FLOOR = 0.01, 1.0
"""Seconds of rest, however soon a node wants to be asked again: it grows alike."""


class NodeLatency:
    """Average time that a node takes for one request of a task; times are the loop's clock's."""

    __slots__ = ("_max_age", "_measured", "seconds")

    def __init__(self, max_age: float) -> None:
        self.seconds: float | None = None
        """Seconds for one request, those ahead of it done meanwhile; None: not known."""
        self._max_age = max_age
        self._measured = -math.inf

    def is_old(self, now: float) -> bool:
        """Tell whether the latency is to be measured anew."""
        return now - self._measured > self._max_age

    def add(self, seconds: float, ahead: int, now: float) -> None:
        """Take in an answer that came after ``seconds``, with ``ahead`` requests before it."""
        sample = seconds / (ahead + 1)
        before = self.seconds
        if before is None or now - self._measured > self._max_age:
            self.seconds = sample
        else:
            weight = FASTER if sample < before else SLOWER
            self.seconds = before + weight * (sample - before)
        self._measured = now

    def add_missing(self, seconds: float, ahead: int, now: float) -> None:
        """Take in that no answer came for ``seconds``, and that nobody waits any more."""
        sample = seconds / (ahead + 1)
        if self.seconds is None or self.is_old(now) or sample > self.seconds:
            self.seconds, self._measured = sample, now


class CircuitBreaker:
    """Keeps a task from a node that refuses it, or has failed at it again and again, for a while.

    Times are seconds of the loop's clock.
    """

    __slots__ = ("_failures", "_rests", "is_doubted", "rest_until")

    def __init__(self) -> None:
        self.rest_until = 0.0
        self.is_doubted = False
        """True while it rests for its failures: it may be asked where there is no other."""
        self._failures = self._rests = 0

    def succeed(self) -> None:
        """Forget the failures: the node has answered."""
        self._failures = self._rests = 0

    def fail(self, now: float) -> None:
        """Count a failure; the node rests after some in a row."""
        self._failures += 1
        if self._failures >= MAX_FAILURES and now >= self.rest_until:
            self.refuse(now)
            self.is_doubted = True

    def refuse(self, now: float, retry_after: float | None = None) -> bool:
        """Leave the node alone for ``retry_after`` seconds, or without it longer each time.

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

    def close(self) -> None:
        """Let the node be asked again at once."""
        self.rest_until = 0.0
        self._failures = self._rests = 0


class TaskHealth(NamedTuple):
    """Latency and circuit breaker of one task at one node."""

    latency: NodeLatency
    breaker: CircuitBreaker
