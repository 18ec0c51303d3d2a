"""Finds nodes on the LAN, and tells as they come, change and go."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple, Self

from zeroconf import (
    DNSQuestionType,
    RecordUpdate,
    RecordUpdateListener,
    ServiceStateChange,
    Zeroconf,
)
from zeroconf.asyncio import AsyncServiceBrowser

from hearth.discovery.address import (
    advertised_address,
    link_local_addresses,
    multicast_addresses,
)
from hearth.discovery.address_ranking import LocalNetworks
from hearth.discovery.cached import CachedService
from hearth.discovery.merged import merged
from hearth.discovery.multicast import (
    TYPE_A,
    TYPE_AAAA,
    TYPE_PTR,
    TYPE_SRV,
    TYPE_TXT,
    Question,
    ask,
    open_zeroconf,
)
from hearth.discovery.record import TYPES, NodeRecord
from hearth.discovery.unicast_query import UnicastQuery
from hearth.discovery.watcher import AddressWatcher
from hearth.environment import NODES
from hearth.errors import Unavailable

__all__ = ["Browser", "Condition", "NodeEvent", "find", "merged"]

RESOLVE_PAUSES = (1.0, 2.0)
"""Seconds that a node has to say where it is; it is asked before each of them. RFC 6762 §5.2
has the intervals: at least one second, then twice as long each time."""
LONGEST_PAUSE = 60.0
"""Seconds between questions to a node that is silent: cut off, it says nothing by itself when
the network is whole again. Ours; the RFC would let it grow to an hour."""

# The questions that are repeated are answered by multicast: a unicast answer to port 5353
# reaches only one of the processes on this host that share the port, and that may be a node.
_QM = DNSQuestionType.QM

Condition = Callable[[Sequence[NodeRecord]], object]
"""Condition of the nodes known so far; ``len`` is satisfied by the first."""

_Key = tuple[str, str]  # a service type, and the whole name of an instance


class NodeEvent(NamedTuple):
    """Event of one node; a removed one is shown as it was last known."""

    kind: Literal["added", "updated", "removed"]
    node: NodeRecord


class Browser:
    """Watches the LAN while it is open: ``async with Browser() as browser``.

    Iterating gives events from the opening on, for one iterator; ``nodes`` is what is
    known now. A node that leaves without a goodbye is ``removed`` some two minutes after it
    was heard last, which is how long what it said counts. Opening raises Unavailable where
    mDNS can't be used.
    """

    def __init__(self, types: Iterable[str] = TYPES) -> None:
        self._types = list(dict.fromkeys(types))
        self._present: dict[_Key, None] = {}  # every instance, those not resolved among them
        self._services: dict[_Key, NodeRecord] = {}
        self._nodes: dict[str, NodeRecord] = {}
        self._events: asyncio.Queue[NodeEvent] = asyncio.Queue()
        self._changed = asyncio.Event()
        self._resolving: dict[_Key, asyncio.Task[None]] = {}
        self._touched: set[str] = set()
        self._far: set[str] = set()
        self._ear = _Ear(self._touch)
        self._moved = asyncio.Event()
        self._watcher = AddressWatcher(self._moved.set)
        self._mover: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._look_around()
        try:
            self._zeroconf = await open_zeroconf(self._interfaces, self._links)
        except OSError as error:
            raise Unavailable(
                f"can't look for nodes by mDNS: {error}; name the nodes, with --node HOST:PORT "
                f"or {NODES}=HOST:PORT,..."
            ) from None
        self._core = self._zeroconf.zeroconf
        self._core.async_add_listener(self._ear, None)
        self._query = UnicastQuery(self._core)
        self._listen()
        self._watcher.start()
        self._mover = asyncio.create_task(self._follow_addresses())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watcher.close()
        self._query.close()
        tasks = [task for task in (self._mover, *self._resolving.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._browser.async_cancel()
        await self._zeroconf.async_close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> NodeEvent:
        return await self._events.get()

    @property
    def nodes(self) -> list[NodeRecord]:
        """The nodes known now, the eldest acquaintance first."""
        return list(self._nodes.values())

    async def find(self, timeout: float, until: Condition | None = None) -> list[NodeRecord]:
        """Return the nodes known once ``until`` holds of them, or after ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while until is None or not until(self.nodes):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass
        return self.nodes

    def _look_around(self) -> None:
        self._networks = LocalNetworks.now()
        self._interfaces = multicast_addresses(advertised_address())
        self._links = link_local_addresses()

    def _listen(self) -> None:
        self._browser = AsyncServiceBrowser(
            self._core, self._types, handlers=[self._on_service], question_type=_QM
        )
        questions = [(type_, TYPE_PTR) for type_ in self._types]
        self._query.use(self._interfaces)
        self._query.ask(questions)
        # A firewall may keep answers to any other port from us.
        ask(self._core, questions, unicast=True)

    async def _follow_addresses(self) -> None:
        """Ask again on networks that this machine joins while we watch."""
        while True:
            await self._moved.wait()
            self._moved.clear()
            before = {*self._interfaces, *self._links}
            self._look_around()
            here = [*self._interfaces, *self._links]
            if set(here) != before:
                # An address may be gone again; then the next change is on its way.
                with contextlib.suppress(OSError, RuntimeError):
                    await self._zeroconf.async_update_interfaces(here)
                await self._browser.async_cancel()
                self._listen()
            # What is the best address of a node depends on ours.
            self._touch({name.lower() for _, name in self._present})

    def _on_service(
        self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        if state_change is ServiceStateChange.Removed:
            self._present.pop((service_type, name), None)
        elif state_change is ServiceStateChange.Added:
            self._present[service_type, name] = None
        self._touch({name.lower()})

    def _touch(self, names: set[str]) -> None:
        """Look at these services and hosts once the whole message is in the cache."""
        if names and not self._touched:
            asyncio.get_running_loop().call_soon(self._settle)
        self._touched |= names

    def _settle(self) -> None:
        touched, self._touched = self._touched, set()
        if self._core.done:
            return
        cache = self._core.cache
        touched |= {service.key for host in touched
                    for service in cache.async_entries_with_server(host)}  # fmt: skip
        for key in [*self._present, *self._services]:
            if key[1].lower() in touched:
                self._look(key)
        self._merge()

    def _look(self, key: _Key) -> None:
        service = CachedService(self._core.cache, *key)
        if key in self._present and not service.is_complete:
            if key not in self._resolving:
                self._resolving[key] = asyncio.create_task(self._resolve(key))
            return
        if (resolving := self._resolving.pop(key, None)) is not None:
            resolving.cancel()
        self._take(key, service)

    async def _resolve(self, key: _Key) -> None:
        """Ask for what is missing; a node that doesn't say it in time is gone, for now."""
        for pause in RESOLVE_PAUSES:
            self._ask_for(key)
            await asyncio.sleep(pause)
        # A service without a TXT record breaks the rules, and is a node all the same.
        self._take(key, CachedService(self._core.cache, *key))
        self._merge()
        while key in self._present and key not in self._services:
            pause = min(2 * pause, LONGEST_PAUSE)
            self._ask_for(key)
            await asyncio.sleep(pause)
        self._resolving.pop(key, None)

    def _ask_for(self, key: _Key) -> None:
        service = CachedService(self._core.cache, *key)
        questions: list[Question] = [(key[1], TYPE_SRV), (key[1], TYPE_TXT)]
        if service.place is not None and not service.addresses:
            host = service.place.server
            questions = [(host, TYPE_A), (host, TYPE_AAAA), *questions]
        self._query.ask(questions)
        ask(self._core, questions)

    def _take(self, key: _Key, service: CachedService) -> None:
        before = self._services.get(key)
        source = self._query.sources.get(service.server)
        record = service.record(self._networks, before, source) if key in self._present else None
        if record is None:
            self._services.pop(key, None)
            return
        self._services[key] = record
        if not self._networks.has(record.address) and service.server not in self._far:
            # Its answer shows an address that it does have here.
            self._far.add(service.server)
            self._query.ask([(key[1], TYPE_SRV)])

    def _merge(self) -> None:
        before, self._nodes = self._nodes, merged(self._services.values(), self._types)
        for key, node in before.items():
            if key not in self._nodes:
                self._events.put_nowait(NodeEvent("removed", node))
        for key, node in self._nodes.items():
            if key not in before:
                self._events.put_nowait(NodeEvent("added", node))
            elif node != before[key]:
                self._events.put_nowait(NodeEvent("updated", node))
        self._changed.set()


class _Ear(RecordUpdateListener):
    """Tells which names there was something about; zeroconf's browser leaves out what it takes
    for known, though another record may have been in its place."""

    def __init__(self, heard: Callable[[set[str]], None]) -> None:
        super().__init__()
        self._heard = heard
        self._names: set[str] = set()

    def async_update_records(self, zc: Zeroconf, now: float, records: list[RecordUpdate]) -> None:
        self._names.update(update.new.key for update in records)

    def async_update_records_complete(self) -> None:
        names, self._names = self._names, set()
        self._heard(names)


async def find(
    timeout: float, until: Condition | None = None, *, types: Iterable[str] = TYPES
) -> list[NodeRecord]:
    """Find the nodes of the LAN: as soon as ``until`` holds of those found, else after ``timeout``.

    ``await find(3, len)`` returns with the first. Raises Unavailable where mDNS can't be used.
    """
    async with Browser(types) as browser:
        return await browser.find(timeout, until)
