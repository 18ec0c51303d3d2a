"""How the node comes by a model: blocking steps, run outside the loop.

A loader needs to do no more than ``load``. One whose model is made of files says where these
are, too, and fetches them; the functions below answer for those that have none.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from hearth.hub.progress import Progress
from hearth.models.model import Model

if TYPE_CHECKING:
    from hearth.hub.store import HubStore


class ModelLoader(Protocol):
    """Makes the model of one service."""

    service: str

    def load(self) -> Model:
        """Make the model of local files; raises SetupError."""
        ...


@runtime_checkable
class FetchesFiles(Protocol):
    """A loader whose files may have to be fetched first."""

    def is_local(self) -> bool:
        """Tell whether all files are here already, whole; never touches the network.

        Raises BackendUnavailable where the engine isn't installed: nothing is worth fetching
        then.
        """
        ...

    def download(self, progress: Progress) -> None:
        """Fetch what is missing; raises SetupError. Resumes what an earlier try left."""
        ...


@runtime_checkable
class FetchesData(Protocol):
    """A loader of a model that can begin without some of its data (that of labels)."""

    def download_data(self, progress: Progress) -> None:
        """Fetch that data; raises ModelUnavailable."""
        ...


class DynamicBatchMaker(Protocol):
    """Writes a copy of downloaded graphs with a dynamic batch, where theirs is fixed.

    The node's are in ``hearth.export``, and come in through ``wiring``.
    """

    def __call__(
        self,
        repository: str,
        snapshot: Path,
        hub: "HubStore",
        model_id: str,
        progress: Progress,
        /,
    ) -> None:
        """Write the copy beside ``snapshot``; what keeps it from that is a line of the log."""
        ...


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """Description of a model, its name and where its files are, before it is loaded."""

    model: str
    """Name of the model; empty where there is none."""
    precision: str = "fp32"
    """Precision of its files; ``auto`` where it depends on what is here."""
    folders: tuple[Path, ...] = ()
    """Folders of the data folder that hold its files, the one that is taken first."""
    own: tuple[Path, ...] = ()
    """Files and folders of the user's that it is made of."""
    origin: str = ""
    """Place that files which aren't here would come from, in words."""
    fault: str = ""
    """Fault of the files and folders that the settings name; empty: none."""
    barred: str = ""
    """Reason why files that aren't here can't be fetched; empty: nothing forbids it."""


@runtime_checkable
class DescribesModel(Protocol):
    """A loader that people can ask about its model: ``hearth models``, ``hearth doctor``."""

    def describe(self) -> ModelDescription:
        """Tell what the model is and where its files are; never touches the network."""
        ...

    def resolve(self) -> str:
        """Find where files that aren't here can be fetched from, in words; empty: there are none.

        Asks the network. Raises ModelUnavailable where they can't be had.
        """
        ...


@runtime_checkable
class ReloadsModel(Protocol):
    """A loader that can hand a model over what has changed of its settings while it runs."""

    def reload(self, model: Any) -> bool:
        """Change a model of an earlier loader; tells whether artifacts are to be derived.

        Doesn't block: whatever has to be read was read when the loader was made.
        """
        ...


def describe(loader: ModelLoader) -> ModelDescription:
    """Tell what a loader's model is; one without files is called nothing."""
    if isinstance(loader, DescribesModel):
        return loader.describe()
    return ModelDescription("", precision="")


def resolve(loader: ModelLoader) -> str:
    """Find where a loader's files can be fetched from; raises as ``DescribesModel.resolve``."""
    return loader.resolve() if isinstance(loader, DescribesModel) else ""


def is_local(loader: ModelLoader) -> bool:
    """Tell whether a loader has all it needs here; raises as ``FetchesFiles.is_local``."""
    return not isinstance(loader, FetchesFiles) or loader.is_local()


def download(loader: ModelLoader, progress: Progress) -> None:
    """Fetch the files that a loader lacks; raises as ``FetchesFiles.download``."""
    if isinstance(loader, FetchesFiles):
        loader.download(progress)


def download_all(loader: ModelLoader, progress: Progress) -> None:
    """Fetch the files that a loader lacks, and the data that its model can begin without."""
    download(loader, progress)
    if isinstance(loader, FetchesData):
        loader.download_data(progress)


def first_missing(*named: Path | None) -> str:
    """Complain of the first file that isn't there (``ModelDescription.fault``); empty: none."""
    paths = (path for path in named if path is not None)
    return next((f"no such file: {path}" for path in paths if not path.is_file()), "")
