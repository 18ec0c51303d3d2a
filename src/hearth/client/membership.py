"""Members of the pool: nodes that were named, and those that mDNS finds."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from hearth.client.limits import ClientLimits
from hearth.client.node_handle import NodeHandle
from hearth.discovery.browser import Browser
from hearth.discovery.record import NodeRecord
from hearth.errors import Unavailable

MAX_NODES = 256
"""Number of nodes, far more than a home has; announcements cost whoever makes them nothing."""


class Membership:
    """Keeps a handle for each node at ``addresses`` (``HOST:PORT``) and, with ``mdns``, of the LAN.

    ``changed`` is called when something has changed with one; ``can_be_spared`` is for them.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        mdns: bool,
        limits: ClientLimits,
        changed: Callable[[], None],
        can_be_spared: Callable[[NodeHandle], bool],
    ) -> None:
        self.mdns = mdns
        self.deaf = ""
        """Reason, in one line, why mDNS can't be used; empty where it can."""
        self._addresses = addresses
        self._limits = limits
        self._changed = changed
        self._can_be_spared = can_be_spared
        self._handles: dict[str, NodeHandle] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._browser: Browser | None = None
        self._browsing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to look; raises Unavailable where mDNS can't be used and no address is given."""
        for address in self._addresses:
            self._handles[address] = self._new_handle(address)
        if self.mdns:
            await self._listen()

    async def close(self) -> None:
        """Cancel what is open."""
        if self._browsing is not None and self._browser is not None:
            self._browsing.cancel()
            await asyncio.gather(self._browsing, return_exceptions=True)
            await self._browser.__aexit__()
        handles, self._handles = self._handles, {}
        for leaving in self._leaving:
            leaving.cancel()
        await asyncio.gather(
            *(handle.close() for handle in handles.values()),
            *self._leaving,
            return_exceptions=True,
        )

    @property
    def handles(self) -> list[NodeHandle]:
        """Nodes, the eldest acquaintance first; one that was named and is found is there once."""
        handles = list(self._handles.values())
        if len(handles) == len(self._addresses) or not self._addresses:
            return handles
        addressed = {
            each.identity for each in handles if each.record is None and each.state == "up"
        }
        return [
            each
            for each in handles
            if each.record is None or each.identity not in addressed or not each.identity[0]
        ]

    def compare(self, records: Iterable[NodeRecord]) -> None:
        """Take up what mDNS says now; a node that has moved is another one, at its new place."""
        announced = {record.target: record for record in records}
        known_as = {(record.uuid, record.name) for record in announced.values() if record.uuid}
        for target, handle in list(self._handles.items()):
            before = handle.record
            if before is None or target in announced:
                continue
            if (before.uuid, before.name) in known_as:
                self._retire(target)
            elif handle.listed:
                handle.unlist()
        for target, record in announced.items():
            known = self._handles.get(target)
            if known is None and len(self._handles) >= MAX_NODES:
                continue
            if known is None:
                self._handles[target] = self._new_handle(target, record)
            elif known.record is not None and (known.record != record or not known.listed):
                known.announce(record)
        self._tell()

    def _new_handle(self, target: str, record: NodeRecord | None = None) -> NodeHandle:
        return NodeHandle(target, self._tell, self._can_be_spared, self._limits, record)

    async def _listen(self) -> None:
        browser = Browser()
        try:
            await browser.__aenter__()
        except Unavailable as error:
            if not self._addresses:
                raise
            self.deaf = str(error)
            return
        self._browser = browser
        self._browsing = asyncio.create_task(self._follow(browser))

    async def _follow(self, browser: Browser) -> None:
        async for _ in browser:
            self.compare(browser.nodes)

    def _retire(self, target: str) -> None:
        """Send it nothing more; what it has of ours may still come."""
        leaving = asyncio.create_task(self._handles.pop(target).leave())
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    def _tell(self) -> None:
        for target, handle in list(self._handles.items()):
            if not handle.listed and handle.state != "up":
                self._retire(target)
        self._changed()
