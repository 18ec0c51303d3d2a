"""Which node to ask: a named one, or the first on the LAN that can do the task."""

import asyncio
import difflib
import os
from collections.abc import Mapping
from typing import NamedTuple

from hearth.client.capabilities import Capabilities
from hearth.client.known import service_of
from hearth.client.stream import Connection
from hearth.discovery.browser import Browser
from hearth.discovery.record import NodeRecord
from hearth.errors import HearthError, Unavailable, UnknownTask

DEFAULT_PORT = 50051
SEARCH_SECONDS = 3.0
"""How long the LAN is searched; a node that can do the task ends the search."""
LOADING_SECONDS = 30.0
"""How long a node that was found may go on loading its models before it is given up."""


class Found(NamedTuple):
    """A node and what it can do."""

    target: str
    capabilities: Capabilities


async def locate(task: str, node: str | None = None) -> Found:
    """A node that can do ``task``: ``node`` or HEARTH_NODE's where one is named, else the LAN's.

    Raises UnknownTask where no node that was asked can do it, Unavailable where none answers.
    """
    name = node or os.environ.get("HEARTH_NODE", "").strip()
    return await _named(task, with_port(name)) if name else await _searched(task)


def with_port(name: str) -> str:
    """``name`` with hearth's usual port where it has none; IPv6 addresses get their brackets."""
    if name.startswith(":"):
        name = f"localhost{name}"
    host, colon, port = name.rpartition(":")
    if name.startswith("["):
        return f"{name}:{DEFAULT_PORT}" if name.endswith("]") else name
    if ":" in host:
        return f"[{name}]:{DEFAULT_PORT}"
    return name if colon and port else f"{host or port}:{DEFAULT_PORT}"


async def ask(target: str) -> Capabilities:
    """What the node can do, once it has loaded its models; raises Unavailable, DeadlinePassed."""
    async with Connection(target) as node:
        return await node.capabilities(patience=LOADING_SECONDS)


async def _named(task: str, target: str) -> Found:
    try:
        capabilities = await ask(target)
    except Unavailable as error:
        raise Unavailable(f"{error}; `hearth discover` lists the nodes there are") from None
    if task not in capabilities.tasks:
        raise UnknownTask(missing(task, {target: capabilities}))
    return Found(target, capabilities)


async def _searched(task: str) -> Found:
    async with Browser() as browser:
        search = _Search(task, browser)
        try:
            return await search.result()
        finally:
            await search.close()


class _Search:
    """Asks every node that comes up, all at once, until one can do the task."""

    def __init__(self, task: str, browser: Browser) -> None:
        self._task = task
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._answers: dict[str, Capabilities] = {}
        self._failures: dict[str, str] = {}
        self._found: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._watching = asyncio.create_task(self._watch(browser))

    async def result(self) -> Found:
        """The first node that can do the task; raises UnknownTask, Unavailable."""
        await asyncio.wait({self._found}, timeout=SEARCH_SECONDS)
        if not self._found.done() and (loading := set(self._asking.values())):
            # Those that were found in time may take theirs to load.
            over = asyncio.ensure_future(asyncio.wait(loading, timeout=LOADING_SECONDS))
            over.add_done_callback(lambda _: self._found.cancel())
            await asyncio.wait({self._found})
            over.cancel()
        if self._found.done() and not self._found.cancelled():
            return self._found.result()
        if self._answers:
            raise UnknownTask(missing(self._task, self._answers))
        if self._failures:
            raise Unavailable("; ".join(self._failures.values()))
        raise Unavailable(
            "no node found on this network: start one with `hearth serve`, or name one with "
            "--node HOST:PORT"
        )

    async def close(self) -> None:
        """Stop looking and asking."""
        tasks = [self._watching, *self._asking.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, browser: Browser) -> None:
        async for kind, node in browser:
            asked = self._asking.get(node.target)
            if kind != "removed" and (asked is None or asked.done()):
                self._asking[node.target] = asyncio.create_task(self._ask(node))

    async def _ask(self, node: NodeRecord) -> None:
        try:
            capabilities = await ask(node.target)
        except HearthError as error:
            self._failures[node.target] = str(error)
            return
        self._answers[node.target] = capabilities
        if self._task in capabilities.tasks and not self._found.done():
            self._found.set_result(Found(node.target, capabilities))


def missing(task: str, nodes: Mapping[str, Capabilities]) -> str:
    """One line: why none of the nodes can do the task, and what they can do."""
    waiting = [
        f"{target} can't do {task} yet: {reason}"
        for target, node in nodes.items()
        for service in node.services
        if (reason := service.extra.get(f"task.{task}"))
    ]
    if waiting:
        return "; ".join(waiting)
    if (told := _not_served(task, nodes)) is not None:
        return told
    ready = sorted({name for node in nodes.values() for name in node.tasks})
    parts = [f"{', '.join(nodes)} can't do {task!r}"]
    if close := difflib.get_close_matches(task.lower(), ready, 1):
        parts.append(f"did you mean {close[0]}")
    parts.append(f"it can do: {', '.join(ready)}" if ready else "no task is ready there")
    # Where a name is misspelt, what else isn't ready has nothing to do with it.
    return "; ".join(parts if close else [*parts, *_troubles(nodes)])


def _not_served(task: str, nodes: Mapping[str, Capabilities]) -> str | None:
    """Why none of the nodes can do one of hearth's own tasks, as far as its service tells."""
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
    """Why services aren't ready: all of them, or those of a name."""
    return [
        f"{service.name} at {target} is {service.trouble}"
        for target, node in nodes.items()
        for service in node.services
        if service.trouble and not service.tasks and name in (None, service.name)
    ]
