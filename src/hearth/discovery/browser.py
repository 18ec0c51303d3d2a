"""Finds nodes on the LAN, and tells as they come, change and go."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, Self

from zeroconf import DNSQuestionType, IPVersion, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo

from hearth.discovery.address import advertised_address, multicast_addresses
from hearth.discovery.multicast import ask_at_once, open_zeroconf
from hearth.discovery.record import TYPES, NodeRecord
from hearth.discovery.watcher import AddressWatcher
from hearth.errors import Unavailable

RESOLVE_SECONDS = 3.0
"""How long a node may take to say where it is, once its name is known."""

# The questions that we repeat are answered by multicast: a unicast answer to port 5353 reaches
# only one of the processes on this host that share the port, and that may be a node.
_QM = DNSQuestionType.QM

Condition = Callable[[Sequence[NodeRecord]], object]
"""Of the nodes known so far; ``len`` is satisfied by the first."""


class NodeEvent(NamedTuple):
    """What happened to one node; a removed one is shown as it was last known."""

    kind: Literal["added", "updated", "removed"]
    node: NodeRecord


class Browser:
    """Watches the LAN while it is open: ``async with Browser() as browser``.

    Iterating gives events from the opening on, for one iterator; ``nodes`` is what is
    known now. Opening raises Unavailable where mDNS can't be used.
    """

    def __init__(self, types: Iterable[str] = TYPES) -> None:
        self._types = list(dict.fromkeys(types))
        self._services: dict[tuple[str, str], NodeRecord] = {}
        self._nodes: dict[str, NodeRecord] = {}
        self._events: asyncio.Queue[NodeEvent] = asyncio.Queue()
        self._changed = asyncio.Event()
        self._resolving: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._moved = asyncio.Event()
        self._watcher = AddressWatcher(self._moved.set)
        self._mover: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._interfaces = multicast_addresses(advertised_address())
        try:
            self._zeroconf = await open_zeroconf(self._interfaces)
        except OSError as error:
            raise Unavailable(f"can't look for nodes by mDNS: {error}; name one instead") from None
        self._listen()
        self._watcher.start()
        self._mover = asyncio.create_task(self._follow_addresses())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watcher.close()
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
        """The nodes known once ``until`` holds of them, or after ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while until is None or not until(self.nodes):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass
        return self.nodes

    def _listen(self) -> None:
        self._browser = AsyncServiceBrowser(
            self._zeroconf.zeroconf,
            self._types,
            handlers=[self._on_service],
            question_type=_QM,
        )
        ask_at_once(self._zeroconf.zeroconf, self._types)

    async def _follow_addresses(self) -> None:
        """Ask again on networks that this machine joins while we watch."""
        while True:
            await self._moved.wait()
            self._moved.clear()
            interfaces = multicast_addresses(advertised_address())
            if set(interfaces) != set(self._interfaces):
                self._interfaces = interfaces
                await self._zeroconf.async_update_interfaces(interfaces)
                await self._browser.async_cancel()
                self._listen()

    def _on_service(
        self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        key = (service_type, name)
        if state_change is ServiceStateChange.Removed:
            if key in self._resolving:
                self._resolving[key].cancel()
            self._services.pop(key, None)
            self._merge()
            return
        info = AsyncServiceInfo(service_type, name)
        if info.load_from_cache(zeroconf):
            self._take(key, info)
        elif key not in self._resolving:
            task = asyncio.create_task(self._resolve(key, info))
            self._resolving[key] = task
            task.add_done_callback(lambda _: self._resolving.pop(key, None))

    async def _resolve(self, key: tuple[str, str], info: AsyncServiceInfo) -> None:
        await info.async_request(self._zeroconf.zeroconf, RESOLVE_SECONDS * 1000, _QM)
        # A service without a TXT record breaks the rules, and is a node all the same.
        self._take(key, info)

    def _take(self, key: tuple[str, str], info: AsyncServiceInfo) -> None:
        record = _record_of(key[0], info)
        if record is not None:
            self._services[key] = record
            self._merge()

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


async def find(
    timeout: float, until: Condition | None = None, *, types: Iterable[str] = TYPES
) -> list[NodeRecord]:
    """The nodes of the LAN: as soon as ``until`` holds of those found, else after ``timeout``.

    ``await find(3, len)`` returns with the first. Raises Unavailable where mDNS can't be used.
    """
    async with Browser(types) as browser:
        return await browser.find(timeout, until)


def merged(services: Iterable[NodeRecord], types: Sequence[str] = TYPES) -> dict[str, NodeRecord]:
    """One record for each node, from one for each of its service types.

    Services belong together by uuid, or by host and port where there is none. One node has
    one instance of a type; where a uuid has two (a copied data folder), host and port tell
    them apart.
    """
    groups: dict[str, list[NodeRecord]] = {}
    for service in services:
        groups.setdefault(service.uuid or service.target, []).append(service)
    nodes: dict[str, NodeRecord] = {}
    for key, group in groups.items():
        if len({service.types for service in group}) == len(group):
            nodes[key] = _as_one(group, types)
            continue
        places: dict[str, list[NodeRecord]] = {}
        for service in group:
            places.setdefault(service.target, []).append(service)
        nodes |= {f"{key} {place}": _as_one(same, types) for place, same in places.items()}
    return nodes


def _as_one(services: Sequence[NodeRecord], types: Sequence[str]) -> NodeRecord:
    ordered = sorted(services, key=lambda service: types.index(service.types[0]))
    first = ordered[0]
    return NodeRecord(
        name=first.name,
        uuid=first.uuid,
        address=first.address,
        port=first.port,
        status=_first(service.status for service in ordered),
        version=_first(service.version for service in ordered),
        runtime=_first(service.runtime for service in ordered),
        types=tuple(dict.fromkeys(service.types[0] for service in ordered)),
        txt={key: value for service in reversed(ordered) for key, value in service.txt.items()},
    )


def _first(values: Iterable[str]) -> str:
    return next((value for value in values if value), "")


def _record_of(type_: str, info: AsyncServiceInfo) -> NodeRecord | None:
    """What was resolved, as a node of one type; None while address or port are missing."""
    # The newest address comes first.
    addresses = [
        *info.parsed_addresses(IPVersion.V4Only),
        *info.parsed_scoped_addresses(IPVersion.V6Only),
    ]
    if not addresses or not info.port:
        return None
    txt = _decoded(info.properties)
    return NodeRecord(
        name=info.name[: -len(type_) - 1],
        uuid=txt.get("uuid", ""),
        address=addresses[0],
        port=info.port,
        status=txt.get("status", ""),
        version=txt.get("version", "") or txt.get("v", ""),
        runtime=txt.get("runtime", ""),
        types=(type_,),
        txt=txt,
    )


def _decoded(properties: Mapping[bytes, bytes | None]) -> dict[str, str]:
    return {
        key.decode("ascii", "replace").lower(): (value or b"").decode("utf-8", "replace")
        for key, value in properties.items()
        if key
    }
