"""Reasons, in one line each, why no node can do a task."""

import difflib
from collections.abc import Iterable, Mapping

from hearth.client.affinity import ModelAffinity
from hearth.client.capabilities import Capabilities
from hearth.environment import NODES
from hearth.known import TASKS

NOBODY = (
    "no node found on this network: start one with `hearth serve`, or name one with "
    f"--node HOST:PORT or {NODES}"
)


def unfit(task: str, affinity: ModelAffinity, models: Iterable[Iterable[str]]) -> str:
    """Say that nodes can do the task, but with other ``models``."""
    if affinity.requested is None:
        return (
            f"no node has the model {affinity.model} for {task} now, and answers of two don't mix"
        )
    names = sorted({name for each in models for name in each})
    return f"no node has the model {affinity.requested} for {task}" + (
        f"; there is {', '.join(names)}" if names else ""
    )


def service_of(task: str) -> str | None:
    """Name the service that does a task, or None where it is none of hearth's own."""
    return next((service for service, tasks in TASKS.items() if task in tasks), None)


def missing(task: str, nodes: Mapping[str, Capabilities]) -> str:
    """Say why none of the nodes can do the task, and what they can do."""
    waiting = [
        f"{target} can't do {task} yet: {reason}"
        for target, node in nodes.items()
        for service in node.services
        if (reason := service.extra.get(f"task.{task}"))
    ]
    if waiting:
        return "; ".join(waiting)
    if (reason := _not_served(task, nodes)) is not None:
        return reason
    ready = sorted({name for node in nodes.values() for name in node.tasks})
    parts = [f"{', '.join(nodes)} can't do {task!r}"]
    if close := difflib.get_close_matches(task.lower(), ready, 1):
        parts.append(f"did you mean {close[0]}")
    parts.append(f"it can do: {', '.join(ready)}" if ready else "no task is ready there")
    # Where a name is misspelt, what else isn't ready has nothing to do with it.
    return "; ".join(parts if close else [*parts, *_troubles(nodes)])


def _not_served(task: str, nodes: Mapping[str, Capabilities]) -> str | None:
    """Say why none of the nodes can do a task of hearth's own, as far as its service tells."""
    needed = service_of(task)
    who = f"{', '.join(nodes)} can't do {task!r}"
    if needed is None:
        return None
    if troubles := _troubles(nodes, needed):
        return f"{who}: {'; '.join(troubles)}"
    if any(service.name == needed for node in nodes.values() for service in node.services):
        return None
    return (
        f"{who}: it needs the service {needed}, which isn't served there (the node's setting "
        f"`services` lists what is)"
    )


def _troubles(nodes: Mapping[str, Capabilities], name: str | None = None) -> list[str]:
    """Say why services aren't ready: all of them, or those of a name."""
    return [
        f"{service.name} at {target} is {service.trouble}"
        for target, node in nodes.items()
        for service in node.services
        if service.trouble and not service.tasks and name in (None, service.name)
    ]
