"""IPv4 address that a node announces, and those on which nodes and clients speak mDNS.

Clients of the field sort a node's addresses as strings and dial only the first, so
exactly one is announced, and it has to be the one that the LAN reaches.
"""

import ipaddress
import re
import socket
import struct
import sys
from collections.abc import Iterator

import ifaddr

from hearth.errors import SettingsError

LOOPBACK = "127.0.0.1"

# Bridges and pairs that container engines and hypervisors make: nobody on the LAN reaches
# what is behind them. Names as these engines give them by default.
_BRIDGE = re.compile(
    r"docker|br-|veth|virbr|vnet|cni|flannel|cali|cilium|kube|nodelocaldns|weave|podman"
    r"|lxcbr|lxdbr|incusbr|vmnet|vboxnet|vethernet|bridge\d|dummy|ifb",
    re.IGNORECASE,
)
# A tunnel may carry the default route, and the LAN still isn't at its other end.
_TUNNEL = re.compile(r"tun|tap|utun|wg|tailscale|zt|ppp|ipsec|nordlynx|proton", re.IGNORECASE)

# linux/sockios.h and linux/if.h
_SIOCGIFFLAGS = 0x8913
_IFF_UP_AND_RUNNING = 0x1 | 0x40

# An address of RFC 5737 that nobody has: the route to it is the default route.
_ANYWHERE = ("198.51.100.1", 9)


def checked_address(text: str | None) -> str | None:
    """Check an address that the user asked for; raises SettingsError for no IPv4 of a host."""
    if text is None or not text.strip():
        return None
    try:
        address = ipaddress.IPv4Address(text.strip())
    except ValueError:
        raise SettingsError(
            f"mdns.advertise_ip = {text!r} is not an IPv4 address; give one like 192.168.1.5"
        ) from None
    if address.is_unspecified or address.is_multicast:
        raise SettingsError(
            f"mdns.advertise_ip = {text!r} is not the address of a host; leave it unset to "
            "announce the default route's"
        )
    return str(address)


def only_address(host: str) -> str | None:
    """Return the IPv4 address that a server on ``host`` listens on, where it is just one."""
    try:
        address = ipaddress.IPv4Address(LOOPBACK if host == "localhost" else host)
    except ValueError:
        return None
    return None if address.is_unspecified else str(address)


def advertised_address(explicit: str | None = None) -> str:
    """Return the one IPv4 address to announce now.

    What was asked for; else the default route's interface; else the first interface that
    is up and no bridge, tunnel or loopback; else 127.0.0.1, so that a machine without a
    network still finds its own node.
    """
    if explicit is not None:
        return explicit
    routed = _default_route_address()
    lan = [address for name, address in _interfaces() if is_lan(name)]
    if routed in lan:
        return routed
    # Link-local addresses (169.254/16) are a last resort of the interface itself.
    lan.sort(key=lambda address: ipaddress.IPv4Address(address).is_link_local)
    return next(iter(lan), routed or LOOPBACK)


def multicast_addresses(advertised: str) -> list[str]:
    """List the addresses of the interfaces to speak mDNS on, the announced one first.

    Container bridges are among them on purpose: a client in a container asks there, and
    reaches the announced address through its host.
    """
    if ipaddress.IPv4Address(advertised).is_loopback:
        return [LOOPBACK]
    known = [address for _, address in _interfaces()]
    # The kernel allows some 20 memberships a socket (igmp_max_memberships), and the
    # announced address must be among them. It may also be none of ours (NAT).
    return sorted(dict.fromkeys([*known, LOOPBACK]), key=lambda address: address != advertised)


def link_local_addresses() -> list[str]:
    """List IPv6 addresses to speak mDNS on as well: one for each interface to a LAN that is up."""
    addresses: dict[str, str] = {}
    for adapter in ifaddr.get_adapters():
        for entry in adapter.ips:
            if isinstance(entry.ip, tuple) and is_lan(entry.nice_name):
                address, _, zone = entry.ip
                if ipaddress.IPv6Address(address).is_link_local and _is_ours(address, zone):
                    addresses.setdefault(entry.nice_name, address)
    return list(addresses.values())


def _is_ours(address: str, zone: int) -> bool:
    """Tell whether an IPv6 address can be used: a new one is tried before (RFC 4862 §5.4)."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0, 0, zone))
    except OSError:
        return False
    return True


def _interfaces() -> Iterator[tuple[str, str]]:
    """List names and IPv4 addresses of what is up, loopback left out, in the kernel's order."""
    for adapter in ifaddr.get_adapters():
        for entry in adapter.ips:
            if not isinstance(entry.ip, str) or ipaddress.ip_address(entry.ip).is_loopback:
                continue
            if is_up(entry.nice_name):
                yield entry.nice_name, entry.ip


def is_lan(name: str) -> bool:
    """Tell whether an interface of this name leads to a LAN: to no container, through no tunnel."""
    return not _BRIDGE.match(name) and not _TUNNEL.match(name)


def is_up(name: str) -> bool:
    """Tell whether the interface is up, with a cable plugged in."""
    if sys.platform != "linux":  # getifaddrs says it there by listing the address
        return True
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            request = struct.pack("256s", name.encode()[:15])
            answer = fcntl.ioctl(probe, _SIOCGIFFLAGS, request)
        except OSError:
            return False
    (flags,) = struct.unpack_from("H", answer, 16)
    return bool(flags & _IFF_UP_AND_RUNNING == _IFF_UP_AND_RUNNING)


def _default_route_address() -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a UDP socket sends nothing: the kernel picks route and source.
            probe.connect(_ANYWHERE)
        except OSError:
            return None
        address: str = probe.getsockname()[0]
    return None if ipaddress.ip_address(address).is_loopback else address
