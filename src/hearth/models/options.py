"""Options that the batch queues of all models of a node share."""

from dataclasses import dataclass, field

from hearth.batching import Limit, Workers
from hearth.machine import usable_cores
from hearth.models.tuning import ProfileCache

_UNTUNED = 8
"""The largest batch until something was measured."""


def _own_workers() -> Workers:
    return Workers(usable_cores())


@dataclass(frozen=True)
class QueueOptions:
    """Options that a model's queues have in common; ``QueueOptions()`` does for a notebook."""

    workers: Workers = field(default_factory=_own_workers)
    """The threads that pictures are decoded in; a node's models share them."""
    capacity: Limit = field(default_factory=lambda: Limit(1024))
    """Requests that may wait in one queue."""
    max_batch: int | None = None
    """The largest batch; None: what measuring finds best."""
    max_delay: float = 0.01
    """Seconds that a batch may wait for company."""
    cache_entries: Limit = field(default_factory=lambda: Limit(0))
    """Results that a tower keeps; 0: none, and identical requests aren't joined."""
    profiles: ProfileCache | None = None
    """Cache of measured latency profiles, kept between starts; None: measured at each."""

    @property
    def first_batch(self) -> int:
        """The largest batch until the queue is tuned."""
        return self.max_batch or _UNTUNED
