"""Declaration of a family: its services with their settings and loaders, its tasks.

Declarations are read wherever settings are, a client's installation among them: they import
neither models nor engines. Functions that make something import it when they are called.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hearth.sections import ServiceSettings

if TYPE_CHECKING:
    from hearth.hub.model_files import PackagedFiles
    from hearth.hub.store import HubStore
    from hearth.media import ImageReader
    from hearth.models.loader import DynamicBatchMaker, ModelLoader
    from hearth.models.options import QueueOptions
    from hearth.tasks.task import Task


@dataclass(frozen=True)
class NodeParts:
    """Parts of a node that the loaders of its services are made with."""

    data_dir: Path
    """Folder of the node's files; a service that keeps files has a folder of its name there."""
    hub: "HubStore"
    """Store of what the hub has, with the node's word on whether it may be asked."""
    reader: "ImageReader"
    """Reader of image files, with the node's limits."""
    options: "QueueOptions"
    """Options of batch queues, with the threads that all models share."""
    sections: Mapping[str, ServiceSettings]
    """Settings of all services, by name."""
    dynamic_batch_makers: "Mapping[str, DynamicBatchMaker]"
    """Makers of a dynamic batch in downloaded graphs, by family; most have none."""


S = TypeVar("S", bound=ServiceSettings)


@dataclass(frozen=True)
class ServiceDeclaration(Generic[S]):
    """Declaration of a service: a name that a node's settings turn on, and what is behind it."""

    name: str
    """Name in ``services``, in capabilities, and of its section of the settings."""
    settings: type[S]
    """Class of its section; each field needs a default and a description."""
    make_loader: "Callable[[S, NodeParts], ModelLoader]"
    """Maker of the model's loader, from its section; raises SettingsError."""
    is_optional: bool = True
    """False of a service that every node has, whatever ``services`` names: it has no section."""


def _no_files(_: Path) -> "Sequence[PackagedFiles]":
    return ()


@dataclass(frozen=True)
class Family:
    """Family of services that share their code."""

    name: str
    """Name of its folder in ``hearth/families``."""
    services: tuple[ServiceDeclaration[Any], ...]
    """Services, in the order in which lists have them."""
    tasks: "Callable[[], tuple[Task, ...]]"
    """Function that gives the declarations of all its tasks."""
    packaged_files: "Callable[[Path], Sequence[PackagedFiles]]" = _no_files
    """Function that gives, for a data folder, the model files that neither the hub nor an export
    brought."""
    verify_labels: Callable[[Path], list[str]] | None = None
    """Function that tells what is wrong with a folder of label vectors that its services keep in
    ``SERVICE/RUNTIME/MODEL`` of the data folder, a line each; None: they keep none."""
