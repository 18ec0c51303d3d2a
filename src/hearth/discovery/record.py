"""Announcement of a node on the LAN, as the announcer writes it and the browser reads it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

HOMENATIVE = "_homenative-node._tcp.local."
"""The seed's service type."""
LUMEN = "_lumen._tcp.local."
"""The service type that today's clients browse."""
TYPES = (HOMENATIVE, LUMEN)


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """One node as it was found, whatever the number of service types it announces."""

    name: str
    """The instance name, one DNS label."""
    uuid: str
    """Empty where the node names none."""
    address: str
    """The best of ``addresses``: IPv4 where it has one, else IPv6 (``fe80::1%eth0``)."""
    port: int
    status: str = ""
    version: str = ""
    runtime: str = ""
    types: tuple[str, ...] = ()
    txt: Mapping[str, str] = field(default_factory=dict)
    """The whole TXT record; keys in lower case."""
    addresses: tuple[str, ...] = ()
    """Every address that it may be reached at, the best first; ``address`` alone if not given."""

    def __post_init__(self) -> None:
        if not self.addresses:
            object.__setattr__(self, "addresses", (self.address,))

    @property
    def target(self) -> str:
        """``HOST:PORT`` for a gRPC channel."""
        return self._at(self.address)

    @property
    def targets(self) -> tuple[str, ...]:
        """``HOST:PORT`` for each of ``addresses``, in the order to try them."""
        return tuple(self._at(address) for address in self.addresses)

    def _at(self, address: str) -> str:
        host = f"[{_escaped(address)}]" if ":" in address else address
        return f"{host}:{self.port}"


def _escaped(address: str) -> str:
    # gRPC takes a target for a URI and reads "%ed" of "fe80::1%ed0" as one byte. Zones that
    # don't look so ("%eth0") may stay as people write them.
    return re.sub(r"%(?=[0-9a-fA-F]{2})", "%25", address)
