"""Opening zeroconf, which announcer and browser share."""

import logging
import socket
from collections.abc import Iterable, Sequence

from zeroconf import DNSOutgoing, DNSQuestion, IPVersion, Zeroconf  # type: ignore[attr-defined]
from zeroconf.asyncio import AsyncZeroconf

MDNS_PORT = 5353
GROUP = "224.0.0.251"
"""RFC 6762 §3 and §5"""

# RFC 1035 §3.2 and §4.1.1, RFC 3596 §2.1, RFC 2782
TYPE_A = 1
TYPE_PTR = 12
TYPE_TXT = 16
TYPE_AAAA = 28
TYPE_SRV = 33
TYPE_ANY = 255
CLASS_IN = 1
QUERY = 0

Question = tuple[str, int]
"""A name and a record type."""


async def open_zeroconf(addresses: list[str], links: Sequence[str] = ()) -> AsyncZeroconf:
    """Open zeroconf on the interfaces with these IPv4 addresses.

    And on those with the link-local IPv6 addresses ``links``, where the machine can do both.
    Raises OSError, in one line, where mDNS can't be used.
    """
    library = logging.getLogger("zeroconf")
    if library.getEffectiveLevel() > logging.DEBUG:
        # Its tracebacks say nothing to a user; what matters is said by our own modules.
        library.setLevel(logging.CRITICAL)
    _check_port()
    addresses = [address for address in addresses if _takes_multicast(address)]
    if not addresses:
        raise OSError("no interface here takes multicast")
    if links and socket.has_dualstack_ipv6():
        try:
            return await _started([*addresses, *links], IPVersion.All)
        except (OSError, RuntimeError):  # an address that is gone again, say
            pass
    return await _started(addresses, IPVersion.V4Only)


async def _started(addresses: list[str], version: IPVersion) -> AsyncZeroconf:
    opened = AsyncZeroconf(interfaces=addresses, ip_version=version)
    try:
        await opened.zeroconf.async_wait_for_start()
    except BaseException:
        await opened.async_close()
        raise
    return opened


def ask(zeroconf: Zeroconf, questions: Iterable[Question], *, unicast: bool = False) -> None:
    """Ask the LAN from port 5353; by ``unicast`` the answer comes without delay.

    It may miss us then: where several processes on this host share the port, one gets it.
    """
    message = DNSOutgoing(QUERY)
    for name, type_ in questions:
        question = DNSQuestion(name, type_, CLASS_IN)
        question.unicast = unicast
        message.add_question(question)
    zeroconf.async_send(message)


def _check_port() -> None:
    # zeroconf would leave its socket open on failure, and its error doesn't say what to do.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            probe.bind(("", MDNS_PORT))
        except OSError as error:
            raise OSError(f"UDP port {MDNS_PORT} isn't shared with us: {error.strerror}") from None


def _takes_multicast(address: str) -> bool:
    # zeroconf would give up everything for one interface, and leave its sockets open.
    own = socket.inet_aton(address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
            group = socket.inet_aton(GROUP) + own
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        except OSError:
            return False
    return True
