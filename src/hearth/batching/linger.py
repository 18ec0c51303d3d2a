"""Whether a free session waits for company, and until when.

A fixed window is the wrong knob: every lone client pays it. The last round tells how
many are about: those it answered, who may be back in a moment, and those who came
meanwhile. Waiting for them pays as long as it is shorter than what one larger batch
saves against two smaller ones.
"""

from collections.abc import Callable
from typing import NamedTuple

from hearth.batching.latency_profile import LatencyProfile


class WindowState(NamedTuple):
    """A free session with entries that wait. Times are of one clock, in seconds."""

    free_since: float
    eldest: float
    """Since when the first of them waits."""
    waiting: int
    """Ready to run."""
    expected: int
    """The size of the last batch and all who waited when it ended."""
    limit: int
    """The largest batch."""
    profile: LatencyProfile | None
    max_delay: float


BatchWindow = Callable[[WindowState], float]
"""Until when to wait for more; a time that has passed means: go."""


def adaptive_window(moment: WindowState) -> float:
    """For those whom the last round proved to be about, and no longer than it pays."""
    aim = min(moment.limit, moment.expected)
    if moment.profile is None or moment.waiting >= aim:
        return 0.0
    together = moment.profile.seconds(aim)
    apart = moment.profile.seconds(moment.waiting) + moment.profile.seconds(aim - moment.waiting)
    # From the moment the session came free: who isn't back by then isn't coming.
    return moment.free_since + min(apart - together, moment.max_delay)
