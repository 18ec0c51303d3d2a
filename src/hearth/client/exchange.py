"""One try of a request at one node."""

from typing import Protocol

from hearth.client.affinity import ModelAffinity
from hearth.client.latency import TaskHealth
from hearth.client.link import Link, OpenRequest, Unanswered
from hearth.client.messages import Job, Outcome


class AtNode(Protocol):
    """Work that a node has of ours."""

    @property
    def job(self) -> Job:
        """Job that is asked for."""

    @property
    def affinity(self) -> ModelAffinity | None:
        """Model that it is to be done with."""


class Asker(Protocol):
    """Caller that waits for what a node makes of a request."""

    deadline: float
    """Time, of the loop's clock, until which it waits."""

    @property
    def affinity(self) -> ModelAffinity | None:
        """Model that it is to be done with."""

    def settle(self, result: Outcome | Unanswered) -> None:
        """Take what a node made of it."""


class ExchangeHandle(Protocol):
    """The node that a request is at."""

    at_node: set[AtNode]
    others: int

    def task_health(self, task: str) -> TaskHealth:
        """Return latency and circuit breaker of a task there."""

    def finish(self, exchange: "Exchange", result: Outcome | Unanswered) -> None:
        """Learn from what became of a request, and hand it on."""

    def drop(self, exchange: "Exchange") -> None:
        """Count a request no longer."""


class Exchange(OpenRequest):
    """One try of a request at a node; ``asker`` is told what the node made of it.

    Unanswered is told where nothing is known of the request. How a call of its own ends, the
    request has brought about: that is an outcome.
    """

    __slots__ = ("ahead", "alone", "asker", "handle", "health", "link", "started")

    def __init__(
        self,
        handle: ExchangeHandle,
        job: Job,
        asker: Asker,
        started: float,
    ) -> None:
        super().__init__(job, asker.deadline)
        self.handle = handle
        self.asker = asker
        self.alone = False
        """True where it has a call of its own."""
        self.ahead = len(handle.at_node) + handle.others
        """Requests before it at the node, ours and others'."""
        self.started = started
        self.health = handle.task_health(job.task)
        self.link: Link

    @property
    def affinity(self) -> ModelAffinity | None:
        """Model that it is to be done with."""
        return self.asker.affinity

    def settle(self, result: Outcome | Unanswered) -> None:
        """Take what the link has for it."""
        self.handle.finish(self, result)

    def cancel(self) -> None:
        """Wait for it no longer; nothing is told."""
        self.link.abandon(self)
        self.handle.drop(self)
