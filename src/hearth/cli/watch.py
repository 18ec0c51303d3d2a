"""Watches the network's nodes and asks each what it can do."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from hearth.client import Capabilities, Connection
from hearth.discovery.browser import Browser
from hearth.discovery.record import NodeRecord
from hearth.errors import HearthError

LOADING_PAUSE = 1.0
"""Seconds until a node that didn't answer is asked again."""
REFRESH_SECONDS = 10.0
"""Seconds after which an answer is old: models come and fail without a word on mDNS."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A node as it is known now: found by mDNS, and what it answered over gRPC."""

    node: NodeRecord
    capabilities: Capabilities | None = None
    trouble: str = ""
    """Why there are no capabilities; empty before the node was asked."""


Listener = Callable[[str, Sighting], None]
"""``listener(kind, sighting)``; the kinds are added, updated and removed."""


async def watch_nodes(listener: Listener, seconds: float | None) -> None:
    """Tell of nodes for so many seconds, or for ever; every node is asked at once.

    A node is ``added`` with its first answer, or with the reason why it gave none. Raises
    Unavailable where mDNS can't be used.
    """
    async with Browser() as browser, asyncio.TaskGroup() as tasks:
        watch = _Watch(listener, tasks)
        following = tasks.create_task(watch.follow(browser))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.Event().wait()
        following.cancel()
        watch.close()


class _Watch:
    def __init__(self, listener: Listener, tasks: asyncio.TaskGroup) -> None:
        self._listener = listener
        self._tasks = tasks
        self._known: dict[str, Sighting] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._told: set[str] = set()

    async def follow(self, browser: Browser) -> None:
        async for kind, node in browser:
            key = node.uuid or node.target
            if kind == "removed":
                self._remove(key)
                continue
            before = self._known.get(key)
            self._known[key] = Sighting(node) if before is None else replace(before, node=node)
            if key in self._told:
                self._tell(key)
            # What changed on mDNS may have changed what the node can do: ask anew.
            if key in self._asking:
                self._asking[key].cancel()
            self._asking[key] = self._tasks.create_task(self._ask(key, node.target))

    def close(self) -> None:
        """Stop asking; nodes that haven't answered yet are told of as they are."""
        for task in self._asking.values():
            task.cancel()
        for key, sighting in self._known.items():
            if key not in self._told:
                silent = replace(sighting, trouble=sighting.trouble or "no answer yet")
                self._known[key] = silent
                self._tell(key)

    async def _ask(self, key: str, target: str) -> None:
        async with Connection(target) as connection:
            while True:
                before = self._known[key]
                try:
                    can = await connection.capabilities()
                    after, pause = replace(before, capabilities=can, trouble=""), REFRESH_SECONDS
                except HearthError as error:
                    reason = str(error).removeprefix(f"{target}: ")
                    after = replace(before, capabilities=None, trouble=reason)
                    pause = LOADING_PAUSE
                self._known[key] = after
                if key not in self._told or after != before:
                    self._tell(key)
                await asyncio.sleep(pause)

    def _tell(self, key: str) -> None:
        kind = "updated" if key in self._told else "added"
        self._told.add(key)
        self._listener(kind, self._known[key])

    def _remove(self, key: str) -> None:
        sighting = self._known.pop(key, None)
        if (task := self._asking.pop(key, None)) is not None:
            task.cancel()
        if sighting is not None and key in self._told:
            self._told.discard(key)
            self._listener("removed", sighting)
