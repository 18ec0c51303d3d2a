"""The parts of a node, as its settings name them; each is imported only where it is wanted."""

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from hearth._version import __version__
from hearth.batching import Limit, Workers
from hearth.errors import SettingsError
from hearth.families.family import NodeParts, ServiceDeclaration
from hearth.families.registry import OPTIONAL_SERVICES, SERVICES
from hearth.machine import usable_cores
from hearth.models.loader import ModelLoader
from hearth.settings import Settings

if TYPE_CHECKING:
    from hearth.models.options import QueueOptions


HUB_TIMEOUT = 10.0
"""Seconds of silence after which the hub counts as out of reach."""


class Presence(Protocol):
    """Announcer of the node on the LAN; ``discovery.Announcer`` is the real one."""

    @property
    def name(self) -> str: ...
    async def start(self) -> None: ...
    async def set_status(self, status: str) -> None: ...
    async def set_runtime(self, runtime: str) -> None: ...
    async def close(self) -> None: ...


class Identity(NamedTuple):
    """Identity of a node, announced or not."""

    uuid: str
    name: str
    """The instance name that it asks for."""


def identity_of(settings: Settings) -> Identity:
    """Make the identity of these settings' node; its uuid is kept in the data folder where that can
    be.
    """
    from hearth.discovery.identity import instance_label, node_uuid

    uuid = node_uuid(settings.data_dir, settings.mdns.uuid)
    return Identity(uuid, instance_label(settings.mdns.name, uuid))


def workers_of(settings: Settings) -> Workers:
    """Start the threads that pictures are decoded in."""
    return Workers(settings.decode_threads or usable_cores())


def loaders_of(settings: Settings, options: "QueueOptions | None" = None) -> list[ModelLoader]:
    """Make the loaders of the services that the settings name; raises SettingsError.

    Their queues are made with ``options``, or with the settings' own and threads of their own.
    """
    parts = _parts(settings, options or queue_options_of(settings, workers_of(settings)))
    # Whoever names what every node has, means no harm.
    named = (_declaration(name) for name in dict.fromkeys(settings.services))
    return [_loader(service, parts) for service in named if service.is_optional]


def common_loaders_of(settings: Settings, options: "QueueOptions") -> list[ModelLoader]:
    """Make the loaders of the services that every node has."""
    parts = _parts(settings, options)
    return [_loader(each, parts) for each in SERVICES.values() if not each.is_optional]


def loader_of(settings: Settings, service: str, *, hub_timeout: float = HUB_TIMEOUT) -> ModelLoader:
    """Make the loader of one service, whether the settings name it or not.

    ``hub_timeout`` is how many seconds of silence of the hub's are borne. Raises SettingsError.
    """
    declaration = _declaration(service)
    options = queue_options_of(settings, workers_of(settings))
    return _loader(declaration, _parts(settings, options, hub_timeout))


def _declaration(service: str) -> ServiceDeclaration[Any]:
    if service not in SERVICES:
        there = ", ".join(OPTIONAL_SERVICES)
        raise SettingsError(f"services: no service {service!r}; there are {there}")
    return SERVICES[service]


def _loader(service: ServiceDeclaration[Any], parts: NodeParts) -> ModelLoader:
    section = parts.sections.get(service.name) or service.settings()
    return service.make_loader(section, parts)


def _parts(
    settings: Settings, options: "QueueOptions", hub_timeout: float = HUB_TIMEOUT
) -> NodeParts:
    from hearth.export.registry import DYNAMIC_BATCH_MAKERS
    from hearth.hub.store import HubStore
    from hearth.media.images import ImageReader

    return NodeParts(
        data_dir=settings.data_dir,
        hub=HubStore(
            settings.data_dir,
            endpoint=settings.hub.endpoint,
            offline=settings.hub.offline,
            timeout=hub_timeout,
        ),
        reader=ImageReader(settings.max_image_pixels),
        options=options,
        sections=settings.sections,
        dynamic_batch_makers=DYNAMIC_BATCH_MAKERS,
    )


def queue_options_of(settings: Settings, workers: Workers) -> "QueueOptions":
    """Make the options of all queues, with limits that can be changed later."""
    from hearth.models.options import QueueOptions
    from hearth.models.tuning import FILE, ProfileCache

    return QueueOptions(
        workers=workers,
        capacity=Limit(settings.queue_capacity),
        max_batch=settings.batch_size,
        max_delay=settings.max_delay_ms / 1000,
        cache_entries=Limit(settings.cache_entries),
        profiles=ProfileCache(settings.data_dir / FILE),
    )


def announcer_of(settings: Settings, port: int) -> Presence:
    """Make the mDNS announcer of a node on this port."""
    from hearth.discovery.announcer import Announcer
    from hearth.discovery.identity import node_uuid

    return Announcer(
        settings.mdns,
        uuid=node_uuid(settings.data_dir, settings.mdns.uuid),
        port=port,
        version=__version__,
        runtime="none",
        host=settings.host,
    )
