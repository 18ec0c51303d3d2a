"""What is known of a node: by its own words, and by mDNS."""

from dataclasses import dataclass, field
from typing import Literal

from hearth.catalog import TaskInfo
from hearth.client.capabilities import Capabilities
from hearth.discovery.record import NodeRecord

State = Literal["new", "up", "loading", "down"]

LEAST_WINDOW, MOST_WINDOW = 16, 256
"""Requests in flight that keep a node busy: three of its batches, but within these; the
node's own bound for a stream is the upper one."""

MOST_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Node:
    """What is known of a node."""

    target: str
    """``HOST:PORT``."""
    name: str
    """As it announces itself, else its address."""
    uuid: str
    """Empty where it doesn't say."""
    state: State
    """``up``: it answers; ``new``: it hasn't been asked yet; ``loading``, ``down``."""
    trouble: str
    """One line: why it isn't up."""
    draining: bool
    """Whether it is about to go."""
    capabilities: Capabilities
    """As last told."""


@dataclass(slots=True)
class Skills:
    """What a node can do, task by task, as it was last told."""

    capabilities: Capabilities = field(default_factory=lambda: Capabilities(()))
    tasks: dict[str, TaskInfo] = field(init=False)
    models: dict[str, tuple[str, ...]] = field(init=False)
    """Of each task's service."""
    known: frozenset[str] = field(init=False)
    """The names of all tasks and models."""
    windows: dict[str, int] = field(init=False)
    """For each task, the requests in flight that keep the node busy."""

    def __post_init__(self) -> None:
        self.tasks = self.capabilities.tasks
        self.windows = {name: _window(task) for name, task in self.tasks.items()}
        names = [set(self.tasks), *(service.models for service in self.capabilities.services)]
        self.known = frozenset(name for some in names for name in some)
        self.models = {
            task.name: service.models
            for service in self.capabilities.services
            for task in service.tasks
        }

    def fact(self, name: str) -> str:
        """What it says of itself; nodes of hearth say it with each of their services."""
        told = (service.extra.get(name, "") for service in self.capabilities.services)
        return next(filter(None, told), "")

    def in_flight(self) -> int:
        """Requests of all clients there, when it was asked; 0 where it doesn't say."""
        return _whole(self.fact("load.in_flight"))

    def is_draining(self, record: NodeRecord | None) -> bool:
        """Whether it says, here or by mDNS, that it is about to go."""
        told = record.status if record is not None else ""
        return "draining" in {told, self.fact("node.status")}


def _window(task: TaskInfo) -> int:
    wanted = 3 * _whole(task.limits.get("max_batch", ""))
    return max(LEAST_WINDOW, min(MOST_WINDOW, wanted))


def _whole(text: str) -> int:
    """The number that a node says; 0 for what can't be meant."""
    return int(text) if text.isdecimal() and len(text) <= MOST_DIGITS else 0
