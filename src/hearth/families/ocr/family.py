"""The declaration of the family ``ocr``."""

from typing import TYPE_CHECKING

from hearth.families.family import Family, NodeParts, ServiceDeclaration
from hearth.families.ocr.settings import OcrSettings

if TYPE_CHECKING:
    from hearth.models.loader import ModelLoader
    from hearth.tasks.task import Task


def _loader(settings: OcrSettings, parts: NodeParts) -> "ModelLoader":
    from hearth.families.ocr.loader import OcrLoader

    return OcrLoader(settings, hub=parts.hub, reader=parts.reader, options=parts.options)


def _tasks() -> "tuple[Task, ...]":
    from hearth.families.ocr.tasks import OCR_TASKS

    return OCR_TASKS


FAMILY = Family("ocr", (ServiceDeclaration("ocr", OcrSettings, _loader),), _tasks)
