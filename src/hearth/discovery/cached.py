"""Reads a service out of zeroconf's cache.

Not by zeroconf's ServiceInfo: that one goes by the order in which records first came, so what
a node said before and says again (ready, starting, ready) would be lost, and it takes
addresses that the node has just withdrawn.
"""

from collections.abc import Mapping
from typing import TypeVar

from zeroconf import (  # type: ignore[attr-defined]
    DNSAddress,
    DNSCache,
    DNSRecord,
    DNSService,
    DNSText,
    ServiceInfo,
    current_time_millis,
)

from hearth.discovery.address_ranking import LocalNetworks
from hearth.discovery.record import NodeRecord

Kind = TypeVar("Kind", bound=DNSRecord)

_WITHDRAWN = 1
"""Seconds: the TTL that zeroconf gives a record which a newer one takes the place of
(RFC 6762 §10.2)."""


class CachedService:
    """Records of one service instance that the cache holds now."""

    def __init__(self, cache: DNSCache, type_: str, name: str) -> None:
        now = current_time_millis()

        def valid(key: str, kind: type[Kind]) -> list[Kind]:
            records = [record for record in cache.async_entries_with_name(key)
                       if isinstance(record, kind) and record.ttl > _WITHDRAWN
                       and not record.is_expired(now)]  # fmt: skip
            return sorted(records, key=lambda record: record.created)

        self.type = type_
        self.name = name
        self.place = _last(valid(name, DNSService))
        self.text = _last(valid(name, DNSText))
        self.addresses = valid(self.place.server, DNSAddress) if self.place else []

    @property
    def is_complete(self) -> bool:
        """True where all is there that a service has to say of itself."""
        return self.text is not None and bool(self.addresses)

    @property
    def server(self) -> str:
        """Name of its host; empty while it isn't known."""
        return self.place.server_key if self.place else ""

    def record(
        self, networks: LocalNetworks, before: NodeRecord | None, source: str | None
    ) -> NodeRecord | None:
        """Return it as a node of one type; None while address or port are missing.

        ``source`` is where its answer came from. Where the node announces no address of our
        LANs, that one is: nodes announce one address on all their networks.
        """
        if self.place is None or not self.place.port:
            return None
        found = {text for record in self.addresses
                 for text in networks.dialable(record.address, record.scope_id)}  # fmt: skip
        if not found:
            return None
        addresses = networks.ordered(found, before.addresses if before else ())
        if source and networks.has(source) and not networks.has(addresses[0]):
            addresses = (*addresses, source)
        txt = _decoded(self.type, self.name, self.text)
        return NodeRecord(
            name=self.name[: -len(self.type) - 1],
            uuid=txt.get("uuid", ""),
            address=addresses[0],
            port=self.place.port,
            status=txt.get("status", ""),
            version=txt.get("version", "") or txt.get("v", ""),
            runtime=txt.get("runtime", ""),
            types=(self.type,),
            txt=txt,
            addresses=addresses,
        )


def _last(records: list[Kind]) -> Kind | None:
    return records[-1] if records else None


def _decoded(type_: str, name: str, text: DNSText | None) -> Mapping[str, str]:
    # A service without a TXT record breaks the rules, and is a node all the same.
    if text is None:
        return {}
    properties = ServiceInfo(type_, name, properties=text.text).properties
    return {
        key.decode("ascii", "replace").lower(): (value or b"").decode("utf-8", "replace")
        for key, value in properties.items()
        if key
    }
