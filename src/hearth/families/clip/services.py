"""The services of CLIP's family: which model each has, and what it classifies with."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hearth.families.clip.labels.sets.bundled import imagenet, scenes
from hearth.families.clip.labels.sets.own import own_labels
from hearth.families.clip.labels.sets.source import LabelSource
from hearth.families.clip.labels.sets.tree_of_life import tree_of_life
from hearth.families.clip.loader import ClipLoader
from hearth.hub.store import HubStore
from hearth.settings import ClipSettings, Settings


def clip_source(settings: Settings, hub: HubStore, **parts: Any) -> ClipLoader:
    """The service ``clip``; ``parts`` are what ClipLoader wants beside."""
    return ClipLoader(settings.clip, labels=clip_labels(settings.clip), hub=hub, **parts)


def bioclip_source(settings: Settings, hub: HubStore, **parts: Any) -> ClipLoader:
    """The service ``bioclip``: species, or the user's own labels."""
    own = settings.bioclip
    mine = own_labels(own.labels) if own.labels else None

    def labels(model_id: str) -> Sequence[LabelSource]:
        return (mine or tree_of_life(hub, f"datasets/{own.label_data}", model_id),)

    return ClipLoader(
        own.over(settings.clip),
        service="bioclip",
        labels=labels,
        label_dtype=own.label_vectors,
        hub=hub,
        **parts,
    )


def siglip_source(settings: Settings, hub: HubStore, **parts: Any) -> ClipLoader:
    """The service ``siglip``: vectors for search alone."""
    return ClipLoader(settings.siglip.over(settings.clip), service="siglip", hub=hub, **parts)


CLIP_SERVICES: Mapping[str, Callable[..., ClipLoader]] = {
    "clip": clip_source,
    "bioclip": bioclip_source,
    "siglip": siglip_source,
}
"""By service: makes its source of the node's settings, the hub's store, and what else it needs."""


def clip_labels(settings: ClipSettings) -> Callable[[str], Sequence[LabelSource]]:
    """ImageNet's classes, or the user's own labels; and scenes."""

    classes = own_labels(settings.labels) if settings.labels else imagenet(settings.templates)

    def labels(_: str) -> Sequence[LabelSource]:
        return classes, scenes()

    return labels
