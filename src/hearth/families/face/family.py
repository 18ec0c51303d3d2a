"""The declaration of the family ``face``."""

from typing import TYPE_CHECKING

from hearth.families.face.settings import FaceSettings
from hearth.families.family import Family, NodeParts, ServiceDeclaration

if TYPE_CHECKING:
    from hearth.models.loader import ModelLoader
    from hearth.tasks.task import Task


def _loader(settings: FaceSettings, parts: NodeParts) -> "ModelLoader":
    from hearth.families.face.loader import FaceLoader

    return FaceLoader(
        settings,
        parts.hub,
        reader=parts.reader,
        options=parts.options,
        make_dynamic=parts.dynamic_batch_makers.get("face"),
    )


def _tasks() -> "tuple[Task, ...]":
    from hearth.families.face.tasks import FACE_TASKS

    return FACE_TASKS


FAMILY = Family("face", (ServiceDeclaration("face", FaceSettings, _loader),), _tasks)
