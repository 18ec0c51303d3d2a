"""The declaration of the family ``mediapipe``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hearth.families.family import Family, NodeParts, ServiceDeclaration
from hearth.families.mediapipe.settings import MediapipeSettings

if TYPE_CHECKING:
    from hearth.hub.model_files import PackagedFiles
    from hearth.models.loader import ModelLoader
    from hearth.tasks.task import Task


def _loader(settings: MediapipeSettings, parts: NodeParts) -> "ModelLoader":
    from hearth.families.mediapipe.loader import MediaPipeLoader

    return MediaPipeLoader(
        settings,
        data_dir=parts.data_dir,
        offline=parts.hub.offline,
        reader=parts.reader,
        options=parts.options,
    )


def _tasks() -> "tuple[Task, ...]":
    from hearth.families.mediapipe.tasks import MEDIAPIPE_TASKS

    return MEDIAPIPE_TASKS


def _packaged_files(data_dir: Path) -> "Sequence[PackagedFiles]":
    from hearth.families.mediapipe.files import FOLDER
    from hearth.families.mediapipe.wheel import WheelModels

    return (WheelModels(data_dir / FOLDER),)


FAMILY = Family(
    "mediapipe",
    (ServiceDeclaration("mediapipe", MediapipeSettings, _loader),),
    _tasks,
    packaged_files=_packaged_files,
)
