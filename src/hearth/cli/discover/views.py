"""The nodes of ``hearth discover``, as a table for people or as lines of JSON."""

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Self

from rich.live import Live
from rich.table import Table

from hearth.cli.console import Text, hint, output, print_json
from hearth.cli.discover.sightings import Sighting, SightingEvent
from hearth.client import Service

WIDE = 100
"""Columns from which on every fact of a node has a column of its own."""

UNREACHABLE = "unreachable"
"""Status for people, where a node gives no answer; JSON has mDNS's, and the ``error``."""

_COLOURS = {"ready": "green", "starting": "yellow", "draining": "yellow"}


class NodeView(AbstractContextManager["NodeView"]):
    """View of nodes as they come and go."""

    def __init__(self) -> None:
        self.shown = 0
        """Number of nodes that were shown so far."""

    def __exit__(self, *exc_info: object) -> None:
        return None

    def show(self, event: SightingEvent) -> None:
        """Take what happened to a node."""
        self.shown += event.kind == "added"
        self.write(event)

    @abstractmethod
    def write(self, event: SightingEvent) -> None:
        """Show what happened to a node."""


class EventLines(NodeView):
    """A line of JSON for each event."""

    def write(self, event: SightingEvent) -> None:
        print_json({"event": event.kind, **facts(event.sighting)})


class NodeLines(NodeView):
    """A line of JSON for each node, as it is known at the end."""

    def __init__(self) -> None:
        super().__init__()
        self._nodes: dict[str, Sighting] = {}

    def write(self, event: SightingEvent) -> None:
        _keep(self._nodes, event)

    def __exit__(self, *exc_info: object) -> None:
        for sighting in self._nodes.values():
            print_json(facts(sighting))


class NodeTable(NodeView):
    """A table that grows on a terminal; elsewhere it is printed once, at the end.

    With ``live`` and without a terminal, a line for each event instead.
    """

    def __init__(self, *, live: bool) -> None:
        super().__init__()
        self._nodes: dict[str, Sighting] = {}
        self._events = live and not output().is_terminal
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if output().is_terminal:
            hint("looking for nodes …")
            self._live = Live(console=output(), auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._live is not None:
            self._live.stop()
        elif self._nodes and not self._events:
            output().print(table(list(self._nodes.values()), output().width))

    def write(self, event: SightingEvent) -> None:
        _keep(self._nodes, event)
        if self._events:
            node = event.sighting.node
            tasks = _tasks_line(event.sighting)
            words = (event.kind, node.name, node.target, _status(event.sighting).plain, tasks)
            output().print("  ".join(words), markup=False, soft_wrap=True)
        elif self._live is not None:
            nodes = list(self._nodes.values())
            self._live.update(table(nodes, output().width) if nodes else Text(), refresh=True)


def _keep(nodes: dict[str, Sighting], event: SightingEvent) -> None:
    if event.kind == "removed":
        nodes.pop(event.key, None)
    else:
        nodes[event.key] = event.sighting


def facts(sighting: Sighting) -> dict[str, object]:
    """Return everything known of a node, for scripts."""
    node, can = sighting.node, sighting.capabilities
    services = can.services if can else ()
    return {
        "name": node.name,
        "uuid": node.uuid,
        "address": node.target,
        "status": node.status,
        "version": node.version,
        "runtime": node.runtime,
        "models": [model for service in services for model in service.models],
        "tasks": list(can.tasks) if can else [],
        "services": [
            {
                "name": service.name,
                "state": service.extra.get("state", "ready"),
                "reason": service.extra.get("reason", ""),
                "changing": service.changing,
                "runtime": service.runtime,
                "precisions": list(service.precisions),
                "models": list(service.models),
                "tasks": [task.name for task in service.tasks],
                "inputs": {task.name: list(task.inputs) for task in service.tasks},
            }
            for service in services
        ],
        "load": _load(services),
        "error": sighting.trouble or None,
    }


def _load(services: Sequence[Service]) -> dict[str, int] | None:
    """Return how many requests and streams a node has now; None where it doesn't say."""
    extra = services[0].extra if services else {}
    load = {
        key.removeprefix("load."): int(value)
        for key, value in sorted(extra.items())
        if key.startswith("load.") and value.isdecimal()
    }
    return load or None


def table(sightings: list[Sighting], width: int) -> Table:
    """Make a table of all nodes, in one of two layouts that suit the width."""
    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    fill = _fill_wide if width >= WIDE else _fill_narrow
    fill(grid, sightings)
    return grid


def _fill_wide(grid: Table, sightings: list[Sighting]) -> None:
    """Add a line for each service of a node, a column for each fact."""
    for head in ("NODE", "ADDRESS", "STATUS", "RUNTIME", "MODEL", "TASKS", "VERSION"):
        grid.add_column(head, overflow="fold", no_wrap=head in ("ADDRESS", "STATUS", "VERSION"))
    for number, sighting in enumerate(sightings):
        node = sighting.node
        if number:
            grid.add_row()
        for at, (runtime, model, what) in enumerate(_services(sighting)):
            first = at == 0
            grid.add_row(
                Text(node.name if first else "", style="bold"),
                node.target if first else "",
                _status(sighting) if first else "",
                runtime,
                Text(model),
                what,
                (node.version or "?") if first else "",
            )


def _fill_narrow(grid: Table, sightings: list[Sighting]) -> None:
    """Add all about a node under its name, all about a service under its model."""
    grid.add_column("NODE", overflow="fold", max_width=24)
    grid.add_column("MODELS AND TASKS", overflow="fold")
    for number, sighting in enumerate(sightings):
        node = sighting.node
        if number:
            grid.add_row()
        who = [Text(node.name, style="bold"), Text(node.target), _status(sighting)]
        who[-1].append(f" · {node.version or '?'}", style="default")
        what = []
        for runtime, model, tasks in _services(sighting):
            if head := " · ".join(part for part in (model, runtime) if part):
                what.append(Text(head))
            what.append(tasks)
        grid.add_row(Text("\n").join(who), Text("\n").join(what))


def _status(sighting: Sighting) -> Text:
    # What mDNS said of a node that was killed, it says for minutes.
    status = sighting.node.status if sighting.answers else UNREACHABLE
    return Text(status or "unknown", style=_COLOURS.get(status, "red"))


def _services(sighting: Sighting) -> list[tuple[str, str, Text]]:
    """Return runtime, model, and tasks or trouble, of each service."""
    can = sighting.capabilities
    if can is None:
        return [(sighting.node.runtime, "", Text(sighting.trouble, style="red"))]
    lines = []
    for service in can.services:
        what = Text(", ".join(task.name for task in service.tasks))
        if service.trouble:
            what.append(("\n" if what else "") + service.trouble, style="yellow")
        # A service that needs no model isn't named: its tasks say what it is.
        name = service.name if service.trouble else ""
        lines.append((service.runtime, ", ".join(service.models) or name, what))
    return lines or [("", "", Text("no services", style="yellow"))]


def _tasks_line(sighting: Sighting) -> str:
    if sighting.capabilities is None:
        return sighting.trouble
    return ", ".join(sighting.capabilities.tasks) or "no task ready"
