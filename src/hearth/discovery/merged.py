"""Services that are one node, as one."""

from collections.abc import Iterable, Sequence

from hearth.discovery.record import TYPES, NodeRecord


def merged(services: Iterable[NodeRecord], types: Sequence[str] = TYPES) -> dict[str, NodeRecord]:
    """Make one record for each node, from one for each of its service types.

    Services belong together by uuid, or by host and port where there is none. One node has
    one instance of a type; where a uuid has two (a copied data folder), host and port tell
    them apart.
    """
    groups: dict[str, list[NodeRecord]] = {}
    for service in services:
        groups.setdefault(service.uuid or service.target, []).append(service)
    nodes: dict[str, NodeRecord] = {}
    for key, group in groups.items():
        if len({service.types for service in group}) == len(group):
            nodes[key] = _as_one(group, types)
            continue
        places: dict[str, list[NodeRecord]] = {}
        for service in group:
            places.setdefault(service.target, []).append(service)
        nodes |= {f"{key} {place}": _as_one(same, types) for place, same in places.items()}
    return nodes


def _as_one(services: Sequence[NodeRecord], types: Sequence[str]) -> NodeRecord:
    ordered = sorted(services, key=lambda service: types.index(service.types[0]))
    first = ordered[0]
    return NodeRecord(
        name=first.name,
        uuid=first.uuid,
        address=first.address,
        port=first.port,
        status=_first(service.status for service in ordered),
        version=_first(service.version for service in ordered),
        runtime=_first(service.runtime for service in ordered),
        types=tuple(dict.fromkeys(service.types[0] for service in ordered)),
        txt={key: value for service in reversed(ordered) for key, value in service.txt.items()},
        addresses=first.addresses,
    )


def _first(values: Iterable[str]) -> str:
    return next((value for value in values if value), "")
