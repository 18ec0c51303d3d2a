"""Which node to ask: a named one, or the first on the LAN that can do the task."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress

from hearth.client.capabilities import Capabilities
from hearth.client.stream import Connection
from hearth.discovery.browser import Browser
from hearth.discovery.record import NodeRecord
from hearth.errors import HearthError, Unavailable, UnknownTask

DEFAULT_PORT = 50051
SEARCH_SECONDS = 5.0
"""How long the LAN is searched; a node that can do the task ends the search."""
LOADING_SECONDS = 30.0
"""How long a named node may go on loading its models before it is given up."""


def named_node(given: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The node that the caller or the environment names, as ``HOST:PORT``; None: search."""
    name = (given or environment.get("HEARTH_NODE", "")).strip()
    return with_port(name) if name else None


def with_port(name: str) -> str:
    """``name`` with hearth's usual port where it has none; IPv6 addresses get their brackets."""
    host, colon, port = name.rpartition(":")
    if name.startswith("[") or (colon and ":" not in host):
        return name if port.isdigit() else f"{name}:{DEFAULT_PORT}"
    return f"[{name}]:{DEFAULT_PORT}" if colon else f"{name}:{DEFAULT_PORT}"


async def ask(target: str, *, patience: float = LOADING_SECONDS) -> Capabilities:
    """What a named node can do; raises Unavailable, DeadlinePassed."""
    async with Connection(target) as node:
        return await node.capabilities(patience=patience)


async def find_for(task: str, *, timeout: float = SEARCH_SECONDS) -> tuple[str, Capabilities]:
    """The first node of the LAN that can do ``task``: its ``HOST:PORT``, and all that it can do.

    Raises UnknownTask where the nodes found can't, Unavailable where none is found.
    """
    async with Browser() as browser:
        search = _Search(task)
        try:
            async with asyncio.timeout(timeout):
                async for event in browser:
                    search.ask(event.node)
                    if event.kind == "removed":
                        search.forget(event.node)
        except TimeoutError:
            pass
        finally:
            await search.close()
    return search.result()
