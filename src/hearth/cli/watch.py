"""Watches the network's nodes and asks each what it can do."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from hearth.client import Capabilities, Connection
from hearth.discovery.browser import Browser
from hearth.discovery.record import NodeRecord
from hearth.errors import HearthError

LOADING_PAUSE = 1.0
"""Seconds until a node that didn't answer, or whose models are on their way, is asked again."""
REFRESH_SECONDS = 10.0
"""Seconds after which an answer is old: models come and fail without a word on mDNS."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A node as it is known now: found by mDNS, and what it answered over gRPC."""

    node: NodeRecord
    capabilities: Capabilities | None = None
    trouble: str = ""
    """Why there are no capabilities; empty before the node was asked."""


class Event(NamedTuple):
    """What happened to a node."""

    kind: Literal["added", "updated", "removed"]
    sighting: Sighting


async def watch_nodes(seconds: float | None) -> AsyncGenerator[Event, None]:
    """What happens to nodes for so many seconds, or for ever; every node is asked at once.

    A node is ``added`` with its first answer, or with the reason why it gave none. Raises
    Unavailable where mDNS can't be used.
    """
    async with Browser() as browser:
        watch = _Watch(browser)
        try:
            async with asyncio.timeout(seconds) as limit:
                while True:
                    event = await watch.events.get()
                    # What the caller does meanwhile must not be cut off.
                    deadline = limit.when()
                    limit.reschedule(None)
                    yield event
                    limit.reschedule(deadline)
        except TimeoutError:
            pass
        finally:
            await watch.close()
        for event in watch.unanswered():
            yield event


class _Watch:
    def __init__(self, browser: Browser) -> None:
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self._known: dict[str, Sighting] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._told: set[str] = set()
        self._following = asyncio.create_task(self._follow(browser))

    async def close(self) -> None:
        """Stop following and asking."""
        tasks = [self._following, *self._asking.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def unanswered(self) -> list[Event]:
        """Nodes that were found and haven't answered."""
        return [
            Event("added", replace(sighting, trouble=sighting.trouble or "no answer yet"))
            for key, sighting in self._known.items()
            if key not in self._told
        ]

    async def _follow(self, browser: Browser) -> None:
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
            self._asking[key] = asyncio.create_task(self._ask(key, node.target))

    async def _ask(self, key: str, target: str) -> None:
        async with Connection(target) as connection:
            while True:
                before = self._known[key]
                try:
                    can = await connection.capabilities()
                    after = replace(before, capabilities=can, trouble="")
                    pause = LOADING_PAUSE if can.changing else REFRESH_SECONDS
                except HearthError as error:
                    reason = str(error).removeprefix(f"{target}: ")
                    after = replace(before, capabilities=None, trouble=reason)
                    pause = LOADING_PAUSE
                self._known[key] = after
                if key not in self._told or after != before:
                    self._tell(key)
                await asyncio.sleep(pause)

    def _tell(self, key: str) -> None:
        self.events.put_nowait(Event("updated" if key in self._told else "added", self._known[key]))
        self._told.add(key)

    def _remove(self, key: str) -> None:
        sighting = self._known.pop(key, None)
        if (task := self._asking.pop(key, None)) is not None:
            task.cancel()
        if sighting is not None and key in self._told:
            self._told.discard(key)
            self.events.put_nowait(Event("removed", sighting))
