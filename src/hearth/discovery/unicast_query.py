"""Asks the LAN from a port of its own, so that nobody else on this host gets the answer."""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Iterable, Sequence
from typing import cast

from zeroconf import (  # type: ignore[attr-defined]
    DNSIncoming,
    DNSOutgoing,
    DNSQuestion,
    DNSService,
    Zeroconf,
)

from hearth.discovery.multicast import CLASS_IN, GROUP, MDNS_PORT, QUERY, Question

LISTEN_SECONDS = 3.0
"""Time for which an answer is waited for."""

_LARGEST = 9000
"""Bytes; RFC 6762 §17"""


class UnicastQuery:
    """Puts questions whose answers come by unicast, at once (RFC 6762 §6.7).

    A unicast answer to port 5353 would reach just one of the processes on this host that share
    the port, and an answer by multicast may take more than a second, where somebody else has
    just asked. What comes is added to zeroconf's cache like everything that it hears itself.
    """

    def __init__(self, zeroconf: Zeroconf) -> None:
        self._zeroconf = zeroconf
        self._loop = asyncio.get_running_loop()
        self._addresses: Sequence[str] = ()
        self._sockets: list[socket.socket] = []
        self._ids: set[int] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.sources: dict[str, str] = {}
        """Addresses that the answers about a host (its name in lower case) came from."""

    def use(self, addresses: Sequence[str]) -> None:
        """Ask on the interfaces with these IPv4 addresses from now on."""
        self.close()
        self._addresses = addresses

    def ask(self, questions: Iterable[Question]) -> None:
        """Send one message with these questions on every interface."""
        if not self._sockets:
            self._open()
        id_ = 1 + secrets.randbelow(0xFFFF)
        self._ids.add(id_)
        message = DNSOutgoing(QUERY, multicast=False, id_=id_)
        for name, type_ in questions:
            message.add_question(DNSQuestion(name, type_, CLASS_IN))
        for packet in message.packets():
            for own in self._sockets:
                _send(own, packet)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(LISTEN_SECONDS, self.close)

    def close(self) -> None:
        """Listen no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for own in self._sockets:
            self._loop.remove_reader(own)
            own.close()
        self._sockets = []
        self._ids.clear()

    def _open(self) -> None:
        self._sockets = [made for made in map(_opened, self._addresses) if made is not None]
        try:
            for own in self._sockets:
                self._loop.add_reader(own, self._read, own)
        except NotImplementedError:
            # Windows' usual loop watches no sockets: what is asked from port 5353 must do.
            for own in self._sockets:
                own.close()
            self._sockets = []

    def _read(self, own: socket.socket) -> None:
        try:
            data, source = own.recvfrom(_LARGEST)
        except OSError:  # nothing after all, or an answer to us that there is no way for
            return
        message = DNSIncoming(data, source)
        if not message.valid or message.is_query() or message.id not in self._ids:
            return
        for record in message.answers():
            if isinstance(record, DNSService):
                self.sources[record.server_key] = cast(str, source[0])
        if not self._zeroconf.done:
            self._zeroconf.record_manager.async_updates_from_response(message)


def _opened(address: str) -> socket.socket | None:
    """Open a socket that sends to the mDNS group on one interface; None where that can't be."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)  # RFC 6762 §11
        made.bind((address, 0))
    except OSError:
        made.close()
        return None
    return made


def _send(own: socket.socket, packet: bytes) -> None:
    # An interface may have gone down; zeroconf asks again, and the others are asked.
    with contextlib.suppress(OSError):
        own.sendto(packet, (GROUP, MDNS_PORT))
