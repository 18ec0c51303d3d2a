"""The declaration of CLIP's family: the services ``clip``, ``bioclip`` and ``siglip``."""

from pathlib import Path
from typing import TYPE_CHECKING

from hearth.families.clip.settings import BioclipSettings, ClipSettings, SiglipSettings
from hearth.families.family import Family, NodeParts, ServiceDeclaration

if TYPE_CHECKING:
    from hearth.models.loader import ModelLoader
    from hearth.tasks.task import Task


def _clip(settings: ClipSettings, parts: NodeParts) -> "ModelLoader":
    from hearth.families.clip.services import clip_loader

    return clip_loader(settings, parts)


def _bioclip(settings: BioclipSettings, parts: NodeParts) -> "ModelLoader":
    from hearth.families.clip.services import bioclip_loader

    return bioclip_loader(settings, parts)


def _siglip(settings: SiglipSettings, parts: NodeParts) -> "ModelLoader":
    from hearth.families.clip.services import siglip_loader

    return siglip_loader(settings, parts)


def _tasks() -> "tuple[Task, ...]":
    from hearth.families.clip.tasks.bioclip import BIOCLIP_TASKS
    from hearth.families.clip.tasks.clip import CLIP_TASKS
    from hearth.families.clip.tasks.siglip import SIGLIP_TASKS
    from hearth.families.clip.tasks.smart import SMART_TASKS

    return (*CLIP_TASKS, *BIOCLIP_TASKS, *SMART_TASKS, *SIGLIP_TASKS)


def _verify_labels(folder: Path) -> list[str]:
    from hearth.families.clip.labels.making.label_files import verify_folder

    return verify_folder(folder)


FAMILY = Family(
    "clip",
    services=(
        ServiceDeclaration("clip", ClipSettings, _clip),
        ServiceDeclaration("bioclip", BioclipSettings, _bioclip),
        ServiceDeclaration("siglip", SiglipSettings, _siglip),
    ),
    tasks=_tasks,
    verify_labels=_verify_labels,
)
