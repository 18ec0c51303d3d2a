"""Opening zeroconf, which announcer and browser share."""

import logging
import socket
from collections.abc import Iterable

from zeroconf import DNSOutgoing, DNSQuestion, IPVersion, Zeroconf  # type: ignore[attr-defined]
from zeroconf.asyncio import AsyncZeroconf

MDNS_PORT = 5353
"""RFC 6762 §5"""

# RFC 1035 §3.2 and §4.1.1
TYPE_PTR = 12
TYPE_SRV = 33
TYPE_ANY = 255
CLASS_IN = 1
QUERY = 0


async def open_zeroconf(addresses: list[str]) -> AsyncZeroconf:
    """zeroconf on the interfaces with these IPv4 addresses.

    Raises OSError, in one line, where mDNS can't be used.
    """
    library = logging.getLogger("zeroconf")
    if library.getEffectiveLevel() > logging.DEBUG:
        # Its tracebacks say nothing to a user; what matters is said by our own modules.
        library.setLevel(logging.CRITICAL)
    _check_port()
    opened = AsyncZeroconf(interfaces=addresses, ip_version=IPVersion.V4Only)
    try:
        await opened.zeroconf.async_wait_for_start()
        if not opened.zeroconf.engine.senders:
            raise OSError("no interface here takes multicast")
    except BaseException:
        await opened.async_close()
        raise
    return opened


def ask_at_once(zeroconf: Zeroconf, types: Iterable[str]) -> None:
    """Ask for services of these types; who answers does so by unicast, without delay.

    Answers by multicast may take more than a second, where somebody else has just asked.
    """
    message = DNSOutgoing(QUERY)
    for type_ in types:
        question = DNSQuestion(type_, TYPE_PTR, CLASS_IN)
        question.unicast = True
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
