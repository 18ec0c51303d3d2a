"""Makes the node known on the LAN, and keeps what is known of it true."""

import asyncio
import contextlib
import logging
import secrets
from typing import NamedTuple

from zeroconf import BadTypeInNameException
from zeroconf import service_type_name as checked_type  # type: ignore[attr-defined]

from hearth.discovery.address import (
    advertised_address,
    checked_address,
    multicast_addresses,
    only_address,
)
from hearth.discovery.identity import instance_label
from hearth.discovery.record import LUMEN
from hearth.discovery.responder import Responder
from hearth.discovery.settings import MdnsSettings
from hearth.discovery.watcher import AddressWatcher
from hearth.errors import SettingsError

log = logging.getLogger(__name__)


class _Announcement(NamedTuple):
    label: str
    address: str
    status: str
    runtime: str


class Announcer:
    """Announces one node under the seed's service type and today's, until it is closed.

    One task owns everything that is on the wire; the setters only tell it that something
    is new. Where mDNS can't be used it says so once, and tries again when the machine's
    addresses change. ``host`` is where the node listens: one address there is the one to
    announce. Raises SettingsError for settings that can't be announced.
    """

    def __init__(
        self,
        settings: MdnsSettings,
        *,
        uuid: str,
        port: int,
        version: str,
        runtime: str,
        host: str = "0.0.0.0",
    ) -> None:
        self._explicit = checked_address(settings.advertise_ip) or only_address(host)
        self._types = _service_types(settings.type)
        self._fixed_status = settings.status
        self._version = settings.version or version
        self._uuid = settings.uuid or uuid
        self._status = "starting"
        self._runtime = runtime
        self._port = port
        self._wish = instance_label(settings.name, self._uuid)
        # Not from the uuid alone: a copied data folder must not share a host name as well.
        self._server = f"hearth-{secrets.token_hex(6)}.local."
        self._changed = asyncio.Event()
        self._on_air = asyncio.Event()
        self._watcher = AddressWatcher(self._changed.set)
        self._responder: Responder | None = None
        self._announced: _Announcement | None = None
        self._reported: tuple[str, str] | None = None
        self._label: str | None = None
        self._rival: str | None = None
        self._defended = self._warned = self._closed = False
        self._owner: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """The instance name in use: the one asked for until it turns out to be taken."""
        return self._label or self._wish

    @property
    def address(self) -> str | None:
        """The address that is announced now; None while nothing is."""
        return self._announced.address if self._announced else None

    async def start(self) -> None:
        """Begin to announce, in the background: it takes a second to make sure of the name."""
        if self._closed:
            return
        self._watcher.start()
        self._changed.set()
        self._owner = asyncio.create_task(self._follow())

    async def announced(self) -> None:
        """Return once the first announcement has been sent."""
        await self._on_air.wait()

    async def set_status(self, status: str) -> None:
        """Announce ``starting``, ``ready`` or ``draining``; settings may have fixed it."""
        self._status = status
        self._changed.set()

    async def set_runtime(self, runtime: str) -> None:
        """Announce the engine in use, as the capabilities name it."""
        self._runtime = runtime
        self._changed.set()

    async def close(self) -> None:
        """Say goodbye and end; takes about a quarter of a second."""
        self._closed = True
        self._watcher.close()
        if self._owner is not None:
            self._owner.cancel()
            await asyncio.gather(self._owner, return_exceptions=True)
            self._owner = None
        await self._leave()

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._update()
            except Exception as error:
                # Whatever it is, the node serves on: mDNS is a convenience.
                if not self._warned:
                    log.warning(
                        "mDNS can't be used here (%s): clients need this node's address", error
                    )
                self._warned = True
                log.debug("what failed in mDNS", exc_info=error)
                await self._leave()

    async def _update(self) -> None:
        address = advertised_address(self._explicit)
        interfaces = multicast_addresses(address)
        if self._responder is None:
            self._responder = Responder(
                self._types, server=self._server, port=self._port, contested=self._contest
            )
            await self._responder.open(interfaces)
        self._answer_rival()
        if self._label is None:
            self._label = await self._responder.claim(self._wish)
            self._defended = False
        announcement = _Announcement(
            self._label, address, self._fixed_status or self._status, self._runtime
        )
        if announcement != self._announced:
            await self._responder.publish(announcement.label, address, self._txt(announcement))
            self._report(announcement)
            self._announced = announcement
        await self._responder.use(interfaces)

    def _contest(self, rival: str) -> None:
        """Contest our name, which another host announces: one has to give way (RFC 6762 §9)."""
        self._rival = rival
        self._changed.set()

    def _answer_rival(self) -> None:
        rival, self._rival = self._rival, None
        if rival is None:
            return
        self._announced = None  # whatever comes now is said anew
        if self._defended or rival > self._server:
            self._label = None
        else:
            # Said once more, it ends a clash with one who gives way by the same rule.
            self._defended = True

    def _txt(self, announcement: _Announcement) -> dict[str, str]:
        return {
            "uuid": self._uuid,
            "status": announcement.status,
            "version": self._version,
            "v": self._version,  # what today's clients read
            "runtime": announcement.runtime,
        }

    def _report(self, announcement: _Announcement) -> None:
        spot = (announcement.label, announcement.address)
        if self._reported != spot:
            log.info("announced as %r at %s:%d", *spot, self._port)
        self._reported = spot
        self._warned = False
        self._on_air.set()

    async def _leave(self) -> None:
        responder, self._responder = self._responder, None
        self._announced = self._label = self._rival = None
        if responder is not None:
            with contextlib.suppress(Exception):  # nothing can be said on a LAN that is gone
                await responder.close()


def _service_types(seed: str) -> tuple[str, ...]:
    """List both service types with their final dot, each once; raises SettingsError."""
    first = seed.strip().rstrip(".") + "."
    try:
        if checked_type(first, strict=False).lower() != first.lower():
            raise BadTypeInNameException("it has an instance name in front")
    except BadTypeInNameException as error:
        raise SettingsError(
            f"mdns.type = {seed!r} is no service type ({error}); it looks like _name._tcp.local."
        ) from None
    return (first,) if first.lower() == LUMEN else (first, LUMEN)
