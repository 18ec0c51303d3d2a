"""Order in which this machine should try a node's addresses."""

import ipaddress
import socket
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self

import ifaddr

from hearth.discovery.address import is_lan, is_up

# What docker gives its default bridge: every host has its own, so it names no host.
_DOCKER = ipaddress.IPv4Network("172.17.0.0/16")

# Ranks of addresses, the best first.
_SAME_LAN, _ELSEWHERE, _IPV6, _IPV6_LINK, _IPV4_LINK, _BRIDGE, _LOOPBACK = range(7)


class LocalNetworks(NamedTuple):
    """The networks that this machine is in."""

    lans: tuple[ipaddress.IPv4Network, ...] = ()
    bridges: tuple[ipaddress.IPv4Network, ...] = ()
    """Networks behind bridges of this machine's own; others have networks of the same numbers."""
    zones: tuple[str, ...] = ()
    """Interfaces to a LAN that have IPv6."""

    @classmethod
    def now(cls) -> Self:
        """Look at the interfaces as they are at present."""
        lans: list[ipaddress.IPv4Network] = []
        bridges: list[ipaddress.IPv4Network] = []
        zones: list[str] = []
        for adapter in ifaddr.get_adapters():
            for entry in adapter.ips:
                if not is_up(entry.nice_name):
                    continue
                if isinstance(entry.ip, tuple):
                    if is_lan(entry.nice_name) and ipaddress.IPv6Address(entry.ip[0]).is_link_local:
                        zones.append(entry.nice_name)
                    continue
                network = ipaddress.IPv4Network((entry.ip, entry.network_prefix), strict=False)
                if not network.is_loopback:
                    (lans if is_lan(entry.nice_name) else bridges).append(network)
        return cls(tuple(lans), tuple(bridges), tuple(dict.fromkeys(zones)))

    def has(self, address: str) -> bool:
        """Tell whether the address is in one of this machine's LANs."""
        return _rank(address, self) == _SAME_LAN

    def ordered(self, addresses: Iterable[str], before: Sequence[str] = ()) -> tuple[str, ...]:
        """Sort addresses, the best first: the same LAN, IPv4, IPv6, then the hardly reachable.

        Of equals, those that weren't there ``before`` come first, and others keep their order:
        what is said again changes nothing.
        """
        given = set(addresses)
        new = sorted(given.difference(before))
        known = [address for address in before if address in given]
        return tuple(sorted(new + known, key=lambda address: _rank(address, self)))

    def dialable(self, address: bytes, zone: int | None) -> list[str]:
        """Write an address of an A or AAAA record as text; link-local IPv6 with its zone.

        Where that isn't known (it came by IPv4), it may be behind any of our interfaces.
        """
        parsed = ipaddress.ip_address(address)
        if parsed.is_unspecified or parsed.is_multicast or str(parsed) == "255.255.255.255":
            return []  # no host has it
        if parsed.version == 4 or not parsed.is_link_local:
            return [str(parsed)]
        zones = [_zone_name(zone)] if zone else self.zones
        return [f"{parsed}%{zone}" for zone in zones]


def _rank(text: str, networks: LocalNetworks) -> int:
    address = ipaddress.ip_address(text)
    if address.is_loopback:
        return _LOOPBACK
    if isinstance(address, ipaddress.IPv6Address):
        return _IPV6_LINK if address.is_link_local else _IPV6
    if address.is_link_local:
        return _IPV4_LINK
    if any(address in network for network in networks.lans):
        return _SAME_LAN
    if address in _DOCKER or any(address in network for network in networks.bridges):
        return _BRIDGE
    return _ELSEWHERE


def _zone_name(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:
        return str(index)
