"""One service instance under several service types, answered for on the LAN.

The one module that announces through zeroconf. It knows names, addresses and TXT
records; when and why they change is the announcer's business.
"""

import asyncio
import random
import socket
from collections.abc import Callable, Mapping, Sequence

from zeroconf import (  # type: ignore[attr-defined]
    DNSOutgoing,
    DNSQuestion,
    DNSService,
    RecordUpdate,
    RecordUpdateListener,
    ServiceInfo,
    Zeroconf,
    current_time_millis,
)
from zeroconf.asyncio import AsyncZeroconf

from hearth.discovery.multicast import CLASS_IN, QUERY, TYPE_ANY, TYPE_SRV, open_zeroconf

# RFC 6762 §8.1: wait up to 250 ms, then probe three times, 250 ms apart.
# (zeroconf's own registration waits 500 ms between probes, and tries one type after the other.)
_PROBES = 3
_PROBE_SECONDS = 0.25

_TTL = 120
"""Seconds, for records that name a host (RFC 6762 §10)."""


class Responder:
    """Announces one instance.

    ``server`` is the host name of its SRV records and belongs to this responder alone;
    ``contested`` is called with another's when that one announces the same instance.
    """

    def __init__(
        self, types: Sequence[str], *, server: str, port: int, contested: Callable[[str], None]
    ) -> None:
        self._types = tuple(types)
        self._server = server
        self._port = port
        self._rivals = _Rivals(server, contested)
        self._infos: list[ServiceInfo] = []
        self._broadcasts: list[asyncio.Future[None]] = []
        self._zeroconf: AsyncZeroconf | None = None
        self._interfaces: list[str] = []

    async def open(self, interfaces: list[str]) -> None:
        """Join the mDNS group on these addresses; raises OSError where that can't be."""
        self._zeroconf = await open_zeroconf(interfaces)
        self._interfaces = interfaces
        self._core.async_add_listener(self._rivals, None)

    async def claim(self, label: str) -> str:
        """Return the label, or ``label-2``, ``label-3``, … where others answer for it already."""
        core = self._core
        candidate, number, probes = label, 1, 0
        await asyncio.sleep(random.uniform(0, _PROBE_SECONDS))
        while probes < _PROBES:
            core.async_send(self._probe(candidate))
            if await self._is_taken(candidate, within=_PROBE_SECONDS):
                number += 1
                candidate, probes = f"{label}-{number}", 0
            else:
                probes += 1
        return candidate

    async def publish(self, label: str, address: str, txt: Mapping[str, str]) -> None:
        """Announce these records in place of earlier ones; returns once they are on their way."""
        self._stop_broadcasts()
        registry = self._core.registry
        registry.async_remove(self._infos)
        self._infos = self._describe(label, address, txt)
        self._rivals.names = {info.key for info in self._infos}
        for info in self._infos:
            # Registers what isn't there yet; our own probes stand for zeroconf's.
            broadcast = await self._core.async_update_service(info)
            self._broadcasts.append(asyncio.ensure_future(broadcast))
        await asyncio.sleep(0)  # each broadcast sends its first packet in its first step

    async def use(self, interfaces: list[str]) -> None:
        """Speak on these addresses from now on; what is new there hears the announcement."""
        if self._zeroconf is not None and set(interfaces) != set(self._interfaces):
            self._interfaces = interfaces
            await self._zeroconf.async_update_interfaces(interfaces)

    async def close(self) -> None:
        """Say goodbye (a quarter of a second) and leave."""
        self._stop_broadcasts()
        if self._zeroconf is not None:
            await self._zeroconf.async_close()
            self._zeroconf = None

    @property
    def _core(self) -> Zeroconf:
        assert self._zeroconf is not None, "open() comes first"
        return self._zeroconf.zeroconf

    def _stop_broadcasts(self) -> None:
        # Each announcement is sent three times; a late copy of an old one would undo the new.
        for broadcast in self._broadcasts:
            broadcast.cancel()
        self._broadcasts.clear()

    def _describe(self, label: str, address: str, txt: Mapping[str, str]) -> list[ServiceInfo]:
        return [
            ServiceInfo(
                type_,
                f"{label}.{type_}",
                port=self._port,
                server=self._server,
                addresses=[socket.inet_aton(address)],
                properties=_encoded(txt),
            )
            for type_ in self._types
        ]

    def _probe(self, label: str) -> DNSOutgoing:
        """Ask for everything under the names, and show the records that we would give them.

        By multicast, not the unicast that RFC 6762 recommends: a unicast answer to port 5353
        reaches only one of the processes that share the port on this host.
        """
        probe = DNSOutgoing(QUERY)
        for type_ in self._types:
            name = f"{label}.{type_}"
            probe.add_question(DNSQuestion(name, TYPE_ANY, CLASS_IN))
            # Not ServiceInfo's record: that one would flush caches, which a probe must not.
            record = DNSService(name, TYPE_SRV, CLASS_IN, _TTL, 0, 0, self._port, self._server)
            # Not by its method, which insists on the pointer that zeroconf's own probes show.
            probe.authorities.append(record)  # type: ignore[arg-type]
        return probe

    async def _is_taken(self, label: str, *, within: float) -> bool:
        loop = asyncio.get_running_loop()
        until = loop.time() + within
        names = [f"{label}.{type_}" for type_ in self._types]
        while not any(self._has_owner(name) for name in names):
            left = until - loop.time()
            if left <= 0:
                return False
            await self._core.async_wait(left * 1000)  # wakes with every new record
        return True

    def _has_owner(self, name: str) -> bool:
        now = current_time_millis()
        return any(
            record.type == TYPE_SRV and not record.is_expired(now)
            for record in self._core.cache.entries_with_name(name)
        )


class _Rivals(RecordUpdateListener):
    """Sees others announce our names: they were probing when we did, or the LANs were apart."""

    def __init__(self, server: str, contested: Callable[[str], None]) -> None:
        super().__init__()
        self._server = server.lower()
        self._contested = contested
        self.names: set[str] = set()

    def async_update_records(self, zc: Zeroconf, now: float, records: list[RecordUpdate]) -> None:
        for update in records:
            record = update.new
            if (
                isinstance(record, DNSService)
                and record.key in self.names
                and record.server_key != self._server
                and not record.is_expired(now)
            ):
                self._contested(record.server_key)
                return


def _encoded(txt: Mapping[str, str]) -> dict[str, bytes]:
    # RFC 6763 §6.1: "key=value" is one string of at most 255 bytes.
    return {key: value.encode()[: 254 - len(key)] for key, value in txt.items()}
