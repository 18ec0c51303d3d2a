"""Who is there: nodes that were named, and those that mDNS finds."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from hearth.client.member import Member
from hearth.discovery.browser import Browser
from hearth.discovery.record import NodeRecord
from hearth.errors import Unavailable

MOST_NODES = 256
"""Far more than a home has; announcements cost whoever makes them nothing."""


class Roster:
    """Keeps a Member for each node at ``addresses`` (``HOST:PORT``) and, with ``mdns``, of the LAN.

    ``changed`` is called when something has changed with one; ``can_be_spared`` is for them.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        mdns: bool,
        changed: Callable[[], None],
        can_be_spared: Callable[[Member], bool],
    ) -> None:
        self.mdns = mdns
        self.deaf = ""
        """One line: why mDNS can't be used; empty where it can."""
        self._addresses = addresses
        self._changed = changed
        self._can_be_spared = can_be_spared
        self._members: dict[str, Member] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._browser: Browser | None = None
        self._browsing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin; raises Unavailable where mDNS can't be used and no address is given."""
        for address in self._addresses:
            self._members[address] = self._member(address)
        if self.mdns:
            await self._listen()

    async def close(self) -> None:
        """Cancel what is open."""
        if self._browsing is not None and self._browser is not None:
            self._browsing.cancel()
            await asyncio.gather(self._browsing, return_exceptions=True)
            await self._browser.__aexit__()
        members, self._members = self._members, {}
        for leaving in self._leaving:
            leaving.cancel()
        await asyncio.gather(
            *(member.close() for member in members.values()),
            *self._leaving,
            return_exceptions=True,
        )

    @property
    def members(self) -> list[Member]:
        """The eldest acquaintance first; one that was named and found is there once, as named."""
        members = list(self._members.values())
        if len(members) == len(self._addresses) or not self._addresses:
            return members
        named = {each.identity for each in members if each.record is None and each.state == "up"}
        return [
            each
            for each in members
            if each.record is None or each.identity not in named or not each.identity[0]
        ]

    def compare(self, records: Iterable[NodeRecord]) -> None:
        """Take up what mDNS says now; a node that has moved is another one, at its new place."""
        found = {record.target: record for record in records}
        known_as = {(record.uuid, record.name) for record in found.values() if record.uuid}
        for target, member in list(self._members.items()):
            before = member.record
            if before is None or target in found:
                continue
            if (before.uuid, before.name) in known_as:
                self._retire(target)
            elif member.listed:
                member.unlisted()
        for target, record in found.items():
            known = self._members.get(target)
            if known is None and len(self._members) >= MOST_NODES:
                continue
            if known is None:
                self._members[target] = self._member(target, record)
            elif known.record is not None and (known.record != record or not known.listed):
                known.seen(record)
        self._tell()

    def _member(self, target: str, record: NodeRecord | None = None) -> Member:
        return Member(target, self._tell, self._can_be_spared, record)

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
        leaving = asyncio.create_task(self._members.pop(target).leave())
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    def _tell(self) -> None:
        for target, member in list(self._members.items()):
            if not member.listed and member.state != "up":
                self._retire(target)
        self._changed()
