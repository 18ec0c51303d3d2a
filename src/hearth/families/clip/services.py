"""The services of CLIP's family: which model each has, and what it classifies with."""

from collections.abc import Callable, Sequence
from typing import Literal

from hearth.families.clip.labels.sets.bundled import imagenet, scenes
from hearth.families.clip.labels.sets.own import own_labels
from hearth.families.clip.labels.sets.source import LabelSource
from hearth.families.clip.labels.sets.tree_of_life import tree_of_life
from hearth.families.clip.loader import ClipLoader
from hearth.families.clip.settings import BioclipSettings, ClipSettings, SiglipSettings
from hearth.families.family import NodeParts


def clip_loader(settings: ClipSettings, parts: NodeParts) -> ClipLoader:
    """Make the loader of the service ``clip``; raises SettingsError."""
    return _loader("clip", settings, parts, clip_labels(settings))


def bioclip_loader(settings: BioclipSettings, parts: NodeParts) -> ClipLoader:
    """Make the loader of the service ``bioclip``: species, or the user's own labels."""
    own = own_labels(settings.labels) if settings.labels else None

    def labels(model_id: str) -> Sequence[LabelSource]:
        return (own or tree_of_life(parts.hub, f"datasets/{settings.label_data}", model_id),)

    filled = settings.filled(parts.sections)
    return _loader("bioclip", filled, parts, labels, settings.label_vectors)


def siglip_loader(settings: SiglipSettings, parts: NodeParts) -> ClipLoader:
    """Make the loader of the service ``siglip``: vectors for search alone."""
    return _loader("siglip", settings.filled(parts.sections), parts, lambda _: ())


def _loader(
    service: str,
    settings: ClipSettings,
    parts: NodeParts,
    labels: Callable[[str], Sequence[LabelSource]],
    label_dtype: Literal["float32", "float16"] = "float32",
) -> ClipLoader:
    return ClipLoader(
        settings,
        service=service,
        labels=labels,
        label_dtype=label_dtype,
        hub=parts.hub,
        data_dir=parts.data_dir,
        reader=parts.reader,
        options=parts.options,
        make_dynamic=parts.dynamic_batch_makers.get("clip"),
    )


def clip_labels(settings: ClipSettings) -> Callable[[str], Sequence[LabelSource]]:
    """Choose labels: ImageNet's classes, or the user's own; and scenes."""

    classes = own_labels(settings.labels) if settings.labels else imagenet(settings.templates)

    def labels(_: str) -> Sequence[LabelSource]:
        return classes, scenes()

    return labels
