"""Opening zeroconf, which announcer and browser share."""

import logging
import socket

from zeroconf import IPVersion
from zeroconf.asyncio import AsyncZeroconf

MDNS_PORT = 5353
"""RFC 6762 §5"""


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
    await opened.zeroconf.async_wait_for_start()
    if not opened.zeroconf.engine.senders:
        await opened.async_close()
        raise OSError("no interface here takes multicast")
    return opened


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
