"""The declaration of the family ``toy``."""

from typing import TYPE_CHECKING

from pydantic import Field

from hearth.families.family import Family, NodeParts, ServiceDeclaration
from hearth.sections import ServiceSettings

if TYPE_CHECKING:
    from hearth.models.loader import ModelLoader
    from hearth.tasks.task import Task


class ToySettings(ServiceSettings):
    """Settings of the service ``toy``."""

    mark: str = Field("!", description="what a shout ends with")
    largest_batch: int = Field(4, ge=1, description="texts that are shouted at once")


def _loader(settings: ToySettings, parts: NodeParts) -> "ModelLoader":
    from hearth.families.toy.model import ToyLoader

    return ToyLoader(settings, parts.options)


def _tasks() -> "tuple[Task, ...]":
    from hearth.families.toy.tasks import TOY_TASKS

    return TOY_TASKS


FAMILY = Family("toy", (ServiceDeclaration("toy", ToySettings, _loader),), _tasks)
