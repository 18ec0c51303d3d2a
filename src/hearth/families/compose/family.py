"""The declaration of the family ``compose``, which every node has."""

from typing import TYPE_CHECKING

from hearth.families.family import Family, NodeParts, ServiceDeclaration
from hearth.sections import ServiceSettings

if TYPE_CHECKING:
    from hearth.models.loader import ModelLoader
    from hearth.tasks.task import Task


def _loader(_: ServiceSettings, parts: NodeParts) -> "ModelLoader":
    from hearth.families.compose.model import ComposeLoader
    from hearth.media import IMAGE

    return ComposeLoader({IMAGE: parts.reader}, options=parts.options)


def _tasks() -> "tuple[Task, ...]":
    from hearth.families.compose.tasks import COMPOSE_TASKS

    return COMPOSE_TASKS


FAMILY = Family(
    "compose", (ServiceDeclaration("compose", ServiceSettings, _loader, is_optional=False),), _tasks
)
