"""The parts of a node, as its settings name them; each is imported only where it is wanted."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from hearth._version import __version__
from hearth.batching import Workers
from hearth.errors import SettingsError
from hearth.machine import usable_cores
from hearth.models.loader import ModelLoader
from hearth.settings import Settings

if TYPE_CHECKING:
    from hearth.models.options import QueueOptions


PATIENCE = 10.0
"""Seconds of silence after which the hub counts as out of reach."""


class Presence(Protocol):
    """How the node is seen on the LAN; ``discovery.Announcer`` is the real one."""

    @property
    def name(self) -> str: ...
    async def start(self) -> None: ...
    async def set_status(self, status: str) -> None: ...
    async def set_runtime(self, runtime: str) -> None: ...
    async def close(self) -> None: ...


class Identity(NamedTuple):
    """Who a node is, announced or not."""

    uuid: str
    name: str
    """The instance name that it asks for."""


def identity_of(settings: Settings) -> Identity:
    """Who the node of these settings is; its uuid is kept in the data folder where that can be."""
    from hearth.discovery.identity import instance_label, node_uuid

    uuid = node_uuid(settings.data_dir, settings.mdns.uuid)
    return Identity(uuid, instance_label(settings.mdns.name, uuid))


def workers_of(settings: Settings) -> Workers:
    """The threads that pictures are decoded in."""
    return Workers(settings.decode_threads or usable_cores())


def loaders_of(settings: Settings, workers: Workers | None = None) -> list[ModelLoader]:
    """Make the loaders of the services that the settings name.

    Their pictures are decoded by ``workers``, or by threads of their own.
    """
    makers = _makers(settings, workers or workers_of(settings))
    # Whoever names what every node has, means no harm.
    wanted = [name for name in dict.fromkeys(settings.services) if name != "compose"]
    return [make() for make in [_maker(makers, name) for name in wanted]]


def loader_of(settings: Settings, service: str, *, patience: float = PATIENCE) -> ModelLoader:
    """Make the loader of one service, whether the settings name it or not.

    ``patience`` is how many seconds of silence of the hub's are borne. Raises SettingsError.
    """
    return _maker(_makers(settings, workers_of(settings), patience), service)()


_Makers = Mapping[str, Callable[[], ModelLoader]]


def _maker(makers: _Makers, service: str) -> Callable[[], ModelLoader]:
    if service not in makers:
        there = ", ".join(name for name in makers if name != "compose")
        raise SettingsError(f"services: no service {service!r}; there are {there}")
    return makers[service]


def _makers(settings: Settings, workers: Workers, patience: float = PATIENCE) -> _Makers:
    """By service: what makes its loader."""
    from hearth.families.clip.services import CLIP_SERVICES
    from hearth.families.ocr.loader import OcrLoader
    from hearth.hub.store import HubStore
    from hearth.media.images import ImageReader

    options = _queue_options(settings, workers)
    reader = ImageReader(settings.max_image_pixels)
    hub = HubStore(
        settings.data_dir,
        endpoint=settings.hub.endpoint,
        offline=settings.hub.offline,
        timeout=patience,
    )

    def clip(service: str) -> ModelLoader:
        make = CLIP_SERVICES[service]
        return make(
            settings,
            hub,
            data_dir=settings.data_dir,
            reader=reader,
            options=options,
            make_dynamic=_make_clip_dynamic,
        )

    def mediapipe() -> ModelLoader:
        from hearth.families.mediapipe.loader import MediaPipeLoader

        return MediaPipeLoader(
            settings.mediapipe,
            data_dir=settings.data_dir,
            offline=hub.offline,
            reader=reader,
            options=options,
        )

    def face() -> ModelLoader:
        from hearth.families.face.loader import FaceLoader

        return FaceLoader(
            settings.face,
            hub,
            reader=reader,
            options=options,
            make_dynamic=_make_face_dynamic,
        )

    return {
        **{service: partial(clip, service) for service in CLIP_SERVICES},
        "ocr": lambda: OcrLoader(settings.ocr, hub=hub, reader=reader, options=options),
        "mediapipe": mediapipe,
        "face": face,
        "compose": partial(composer_of, settings, workers),
    }


# What rewrites graphs is imported where a download has come, not with every node.


def _make_clip_dynamic(*download: Any) -> None:
    from hearth.export.clip_dynamic_batch import make_dynamic_copy

    make_dynamic_copy(*download)


def _make_face_dynamic(*download: Any) -> None:
    from hearth.export.face_dynamic_batch import make_recognition_dynamic

    make_recognition_dynamic(*download)


def composer_of(settings: Settings, workers: Workers) -> ModelLoader:
    """Make the loader of the service that every node has: requests composed of several tasks."""
    from hearth.families.compose.model import ComposeLoader
    from hearth.media import IMAGE, ImageReader

    reader = ImageReader(settings.max_image_pixels)
    return ComposeLoader({IMAGE: reader}, options=_queue_options(settings, workers))


def _queue_options(settings: Settings, workers: Workers) -> "QueueOptions":
    from hearth.models.options import QueueOptions
    from hearth.models.tuning import FILE, ProfileCache

    return QueueOptions(
        workers=workers,
        capacity=settings.queue_capacity,
        max_batch=settings.batch_size,
        max_delay=settings.max_delay_ms / 1000,
        cache_entries=settings.cache_entries,
        profiles=ProfileCache(settings.data_dir / FILE),
    )


def announcer_of(settings: Settings, port: int) -> Presence:
    """The mDNS announcer of a node on this port."""
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
