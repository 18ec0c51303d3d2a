"""Notices that the machine's addresses may have changed, without polling where that can be."""

import asyncio
import socket
import sys
from collections.abc import Callable

# linux/rtnetlink.h. Links too: routes that go with their link are not reported on their own.
_RTMGRP_LINK = 0x1
_RTMGRP_IPV4_IFADDR = 0x10
_RTMGRP_IPV4_ROUTE = 0x40
_RTMGRP_IPV6_IFADDR = 0x100
_GROUPS = _RTMGRP_LINK | _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV4_ROUTE | _RTMGRP_IPV6_IFADDR


class AddressWatcher:
    """Calls ``changed`` on the event loop after a change of addresses, routes or links.

    On Linux the kernel tells (a netlink socket); elsewhere ``changed`` is called every
    ``interval`` seconds. A change comes as a burst (address, then route): ``changed`` is
    called once, ``settle`` seconds after the first sign of it.
    """

    def __init__(
        self,
        changed: Callable[[], None],
        *,
        interval: float = 30.0,
        settle: float = 0.2,
        netlink: bool = sys.platform == "linux",
    ) -> None:
        self._changed = changed
        self._interval = interval
        self._settle = settle
        self._netlink = netlink
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin; needs a running event loop."""
        self._loop = asyncio.get_running_loop()
        if self._netlink:
            self._socket = _open_netlink()
        if self._socket is not None:
            self._loop.add_reader(self._socket, self._drain)
        else:
            self._timer = self._loop.call_later(self._interval, self._tick)

    def close(self) -> None:
        """End; ``changed`` isn't called afterwards."""
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _drain(self) -> None:
        assert self._socket is not None
        try:
            while self._socket.recv(65536):
                pass
        except BlockingIOError:
            pass
        except OSError:
            # ENOBUFS: messages were lost, so something has changed. What it was doesn't matter.
            pass
        if self._timer is None:
            self._timer = self._loop.call_later(self._settle, self._settled)

    def _settled(self) -> None:
        self._timer = None
        self._changed()

    def _tick(self) -> None:
        self._timer = self._loop.call_later(self._interval, self._tick)
        self._changed()


def _open_netlink() -> socket.socket | None:
    """Open a socket that becomes readable with every change; None where the kernel gives none."""
    try:
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    except OSError:
        return None
    try:
        netlink.bind((0, _GROUPS))
    except OSError:
        netlink.close()
        return None
    netlink.setblocking(False)
    return netlink
