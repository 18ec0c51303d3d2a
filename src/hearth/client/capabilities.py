"""What a node says that it can do."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hearth.catalog import TaskInfo
from hearth.contract.ml_service_pb2 import Capability


@dataclass(frozen=True, slots=True)
class Service:
    """One service of a node: a model or a few, and their tasks."""

    name: str
    models: tuple[str, ...]
    runtime: str
    precisions: tuple[str, ...]
    tasks: tuple[TaskInfo, ...]
    extra: Mapping[str, str] = field(default_factory=dict)
    """What else is true; ``state`` and ``reason`` where a service isn't ready."""

    @property
    def changing(self) -> bool:
        """Whether it is about to become able to do more, by itself."""
        state = self.extra.get("state", "ready")
        return state in {"downloading", "loading"} or (
            state == "ready" and self.trouble is not None
        )

    @property
    def trouble(self) -> str | None:
        """One line: why this service isn't ready or not wholly, or None where it is."""
        state = self.extra.get("state", "ready")
        reason = self.extra.get("reason", "")
        if state == "ready":
            return reason or None
        return f"{state}: {reason}" if reason else state


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Everything that a node can do."""

    services: tuple[Service, ...]

    @property
    def changing(self) -> bool:
        """Whether asking again soon may give another answer."""
        return any(service.changing for service in self.services)

    @property
    def tasks(self) -> dict[str, TaskInfo]:
        """Ready tasks by name, in the node's own order."""
        return {task.name: task for service in self.services for task in service.tasks}


def read(messages: Iterable[Capability]) -> Capabilities:
    """The contract's messages as plain values."""
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
