"""Watches the nodes there are, and what each can do."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from hearth.client import Capabilities, Service
from hearth.client.addresses import named
from hearth.client.limits import DEFAULT_LIMITS, ClientLimits
from hearth.client.node_handle import NodeHandle
from hearth.client.pool import NodePool
from hearth.discovery.record import NodeRecord

_PASSING = ("load.", "node.")
"""Beginnings of capabilities' keys whose values are of the moment, or of the node's record."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A node as it is known now: what mDNS or itself says of it, and what it can do."""

    node: NodeRecord
    capabilities: Capabilities | None = None
    trouble: str = ""
    """Reason why there are no capabilities; empty before the node was asked."""
    answers: bool = True
    """Whether the node says anything at all, be it that it isn't ready."""


class SightingEvent(NamedTuple):
    """Change of a node: added, updated or removed."""

    kind: Literal["added", "updated", "removed"]
    key: str
    """Key of the node in all its events, wherever it moves."""
    sighting: Sighting


async def watch_nodes(
    seconds: float | None, nodes: Iterable[str] = (), limits: ClientLimits = DEFAULT_LIMITS
) -> AsyncGenerator[SightingEvent, None]:
    """Yield what happens to nodes for so many seconds, or for ever; all are asked at once.

    They are those of the network, and those named by ``nodes`` (``HOST:PORT``), else by
    HEARTH_NODES. A node is ``added`` with its first answer, or with the reason why it gave none.
    Raises Unavailable where mDNS can't be used and no node is named.
    """
    pool = NodePool(named(nodes), mdns=True, limits=limits)
    until = None if seconds is None else asyncio.get_running_loop().time() + seconds
    sightings: dict[str, Sighting] = {}
    try:
        await pool.open()
        while True:
            news = pool.news
            for event in _events(sightings, pool.handles):
                yield event
            if not await _comes(news, until):
                break
        for key, handle in _present(sightings, pool.handles).items():
            if key not in sightings:
                yield SightingEvent(
                    "added", key, replace(_sighting(handle), trouble="no answer yet")
                )
    finally:
        await pool.close()


async def _comes(news: asyncio.Event, until: float | None) -> bool:
    """Wait for news, and tell whether there is any by then."""
    with suppress(TimeoutError):
        async with asyncio.timeout_at(until):
            await news.wait()
    return news.is_set()


def _events(
    sightings: dict[str, Sighting], handles: Sequence[NodeHandle]
) -> Iterator[SightingEvent]:
    """Bring ``sightings`` up to date, and yield what has changed."""
    present = _present(sightings, handles)
    for key in [key for key in sightings if key not in present]:
        yield SightingEvent("removed", key, sightings.pop(key))
    for key, handle in present.items():
        if handle.state == "new":
            continue  # it is being asked
        before, now = sightings.get(key), _sighting(handle)
        sightings[key] = now
        if before is None:
            yield SightingEvent("added", key, now)
        elif _lasting(before) != _lasting(now):
            yield SightingEvent("updated", key, now)


def _present(
    sightings: Mapping[str, Sighting], handles: Sequence[NodeHandle]
) -> dict[str, NodeHandle]:
    """Return the nodes by who they are."""
    return {_key(sightings, handle): handle for handle in handles if handle.listed}


def _key(sightings: Mapping[str, Sighting], handle: NodeHandle) -> str:
    """Return uuid and name: nodes on a copied data folder share the uuid alone."""
    key = f"{handle.uuid} {handle.name}" if handle.uuid else handle.target
    if key in sightings:
        return key
    # One that was named says who it is only when it answers.
    place = _sighting(handle).node.target
    return next((known for known, each in sightings.items() if each.node.target == place), key)


def _sighting(handle: NodeHandle) -> Sighting:
    node = handle.record or _record(handle)
    if handle.state == "up":
        return Sighting(node, handle.capabilities)
    trouble = handle.trouble.removeprefix(f"{handle.target}: ")
    return Sighting(node, None, trouble, answers=handle.state == "loading")


def _record(handle: NodeHandle) -> NodeRecord:
    """Return what mDNS would say of a node that was named, as far as it says so itself."""
    host, _, port = handle.target.rpartition(":")
    services = handle.capabilities.services
    facts = services[0].extra if services else {}
    runtimes = {service.runtime for service in services if service.runtime}
    return NodeRecord(
        name=handle.name,
        uuid=handle.uuid,
        address=host.removeprefix("[").removesuffix("]").replace("%25", "%"),
        port=int(port) if port.isdecimal() else 0,
        status=facts.get("node.status", ""),
        version=facts.get("version", ""),
        runtime=runtimes.pop() if len(runtimes) == 1 else "mixed" if runtimes else "",
    )


def _lasting(sighting: Sighting) -> Sighting:
    """Leave out what changes all the time: a busy node has no news for that."""
    can = sighting.capabilities
    if can is None:
        return sighting
    return replace(sighting, capabilities=Capabilities(tuple(map(_without_passing, can.services))))


def _without_passing(service: Service) -> Service:
    lasting = {key: value for key, value in service.extra.items() if not key.startswith(_PASSING)}
    return replace(service, extra=lasting)
