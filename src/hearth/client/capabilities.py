"""Nodes as a client knows them, and what they say that they can do."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from hearth.catalog import TaskInfo
from hearth.contract.ml_service_pb2 import Capability
from hearth.discovery.record import NodeRecord

State = Literal["new", "up", "loading", "down"]

MIN_WINDOW, MAX_WINDOW = 16, 256
"""Bounds of the requests in flight that keep a node busy, three of its batches; the upper one is
a node's own bound for a stream."""

MAX_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Service:
    """A service of a node: a model or a few, and their tasks."""

    name: str
    models: tuple[str, ...]
    runtime: str
    precisions: tuple[str, ...]
    tasks: tuple[TaskInfo, ...]
    extra: Mapping[str, str] = field(default_factory=dict)
    """Further facts; ``state`` and ``reason`` where a service isn't ready."""

    @property
    def changing(self) -> bool:
        """True of a service that is about to become able to do more, by itself."""
        state = self.extra.get("state", "ready")
        return state in {"downloading", "loading"} or (
            state == "ready" and self.trouble is not None
        )

    @property
    def trouble(self) -> str | None:
        """Reason, in one line, why the service isn't ready or not wholly; None where it is."""
        state = self.extra.get("state", "ready")
        reason = self.extra.get("reason", "")
        if state == "ready":
            return reason or None
        return f"{state}: {reason}" if reason else state


@dataclass(frozen=True, slots=True)
class Capabilities:
    """All services of a node."""

    services: tuple[Service, ...]

    @property
    def changing(self) -> bool:
        """True where asking again soon may give another answer."""
        return any(service.changing for service in self.services)

    @property
    def tasks(self) -> dict[str, TaskInfo]:
        """Ready tasks by name, in the node's own order."""
        return {task.name: task for service in self.services for task in service.tasks}


def read(messages: Iterable[Capability]) -> Capabilities:
    """Return the contract's messages as plain values."""
    return Capabilities(tuple(_service(message) for message in messages))


def _service(message: Capability) -> Service:
    return Service(
        name=message.service_name,
        models=tuple(message.model_ids),
        runtime=message.runtime,
        precisions=tuple(message.precisions),
        tasks=tuple(
            TaskInfo(
                name=task.name,
                inputs=tuple(task.input_mimes),
                outputs=tuple(task.output_mimes),
                limits=dict(task.limits),
            )
            for task in message.tasks
        ),
        extra=dict(message.extra),
    )


@dataclass(frozen=True, slots=True)
class Node:
    """Node as it is known at one moment."""

    target: str
    """``HOST:PORT``."""
    name: str
    """Name that it announces, else its address."""
    uuid: str
    """Identity that it keeps over restarts; empty where it doesn't say."""
    state: State
    """``up``: it answers; ``new``: it hasn't been asked yet; ``loading``, ``down``."""
    trouble: str
    """Reason, in one line, why it isn't up."""
    draining: bool
    """True of a node that is about to go."""
    capabilities: Capabilities
    """Services and tasks, as last told."""


@dataclass(slots=True)
class Skills:
    """Abilities of a node, task by task, as last told."""

    capabilities: Capabilities = field(default_factory=lambda: Capabilities(()))
    tasks: dict[str, TaskInfo] = field(init=False)
    models: dict[str, frozenset[str]] = field(init=False)
    """Models of each task's service."""
    known: frozenset[str] = field(init=False)
    """Names of all tasks and models."""
    windows: dict[str, int] = field(init=False)
    """Requests in flight, for each task, that keep the node busy."""

    def __post_init__(self) -> None:
        self.tasks = self.capabilities.tasks
        self.windows = {name: _window(task) for name, task in self.tasks.items()}
        names = [set(self.tasks), *(service.models for service in self.capabilities.services)]
        self.known = frozenset(name for some in names for name in some)
        self.models = {
            task.name: frozenset(service.models)
            for service in self.capabilities.services
            for task in service.tasks
        }

    def fact(self, name: str) -> str:
        """Return what it says of itself; nodes of hearth say it with each of their services."""
        facts = (service.extra.get(name, "") for service in self.capabilities.services)
        return next(filter(None, facts), "")

    def in_flight(self) -> int:
        """Return the requests of all clients there, when asked; 0 where it doesn't say."""
        return _whole(self.fact("load.in_flight"))

    def is_draining(self, record: NodeRecord | None) -> bool:
        """Tell whether it says, here or by mDNS, that it is about to go."""
        announced = record.status if record is not None else ""
        return "draining" in {announced, self.fact("node.status")}


def _window(task: TaskInfo) -> int:
    batches = 3 * _whole(task.limits.get("max_batch", ""))
    return max(MIN_WINDOW, min(MAX_WINDOW, batches))


def _whole(text: str) -> int:
    """Return the number that a node says; 0 for what can't be meant."""
    return int(text) if text.isdecimal() and len(text) <= MAX_DIGITS else 0
