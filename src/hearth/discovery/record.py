"""What a node says of itself on the LAN, as the announcer writes it and the browser reads it."""

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
    """IPv4 where it has one, else IPv6 (with its zone, ``fe80::1%eth0``)."""
    port: int
    status: str = ""
    version: str = ""
    runtime: str = ""
    types: tuple[str, ...] = ()
    txt: Mapping[str, str] = field(default_factory=dict)
    """The whole TXT record; keys in lower case."""

    @property
    def target(self) -> str:
        """``HOST:PORT`` for a gRPC channel."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"
