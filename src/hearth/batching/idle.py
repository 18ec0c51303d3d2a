"""Measuring that holds nobody up: it goes on only while the process has nothing else to do."""

import threading
import time
from collections.abc import Callable, Generator

from hearth.batching.latency_profile import LatencyProfile

QUIET_SECONDS = 1.0
"""Seconds without work in the whole process before anything is measured."""

QUIET_SHARE = 0.2
"""Share of one core up to which a process counts as quiet. Other models and threads that
decode would make a measurement wrong, and would be slowed down by it."""

_BURST_SECONDS = 1.0
"""Seconds of measuring after which is looked anew whether all is quiet."""


class IdleMeasurement:
    """Steps of a measurement, run by the thread that owns the model.

    ``turn`` is shared by all that must not be measured at once. ``done`` is for the profile.
    """

    def __init__(
        self,
        steps: Generator[None, None, LatencyProfile],
        turn: threading.Lock,
        done: Callable[[LatencyProfile], None],
    ) -> None:
        self.done = done
        self._steps = steps
        self._turn = turn
        self._cpu = 0.0

    def pause(self) -> float:
        """Begin to see whether the process is quiet; the seconds that takes."""
        self._cpu = time.process_time()
        return QUIET_SECONDS

    def was_quiet(self) -> bool:
        """Whether the process has done next to nothing since ``pause``."""
        return time.process_time() - self._cpu < QUIET_SHARE * QUIET_SECONDS

    def advance(self, disturbed: Callable[[], bool]) -> LatencyProfile | None:
        """Run steps for a while, none once ``disturbed``; the profile once nothing is left to do.

        Raises what the model raises.
        """
        if not self._turn.acquire(blocking=False):
            return None
        try:
            ends = time.monotonic() + _BURST_SECONDS
            while time.monotonic() < ends and not disturbed():
                next(self._steps)
            return None
        except StopIteration as end:
            profile: LatencyProfile = end.value
            return profile
        finally:
            self._turn.release()
