"""What the node needs of a model manager, and of the place where it comes from.

A manager is a plain class made from sessions and files, usable in a notebook
without a node. Its operations are coroutines that go through its own batch
queues: there is no second way into a model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hearth.batching import BatchQueue
from hearth.hub.progress import Progress, Unit, no_progress
from hearth.models.single_flight import SharedStatistics

__all__ = ["About", "Manager", "ModelSource", "Progress", "Unit", "absent_of", "no_progress"]


class Manager(Protocol):
    """A loaded model."""

    service: str
    model_id: str
    runtime: str
    """As in the contract: ``onnxrt``, ``torch``, …; what is really in use."""
    device: str
    precisions: tuple[str, ...]

    @property
    def preprocess_id(self) -> str | None:
        """Under which id of the contract pictures come prepared; None: they can't."""
        ...

    @property
    def queues(self) -> tuple[BatchQueue[object, object], ...]:
        """All batch queues that requests go through."""
        ...

    @property
    def shared(self) -> Mapping[str, SharedStatistics]:
        """By name: what was computed once for several requests."""
        ...

    @property
    def facts(self) -> Mapping[str, str]:
        """What else is true of the model, for the capabilities' ``extra``."""
        ...

    async def warm_up(self) -> None:
        """Try the model through its queues, and tune these; raises HearthError if it can't work."""
        ...

    def load_derived(self) -> None:
        """Take over what was derived from the model and cached (label vectors); blocking."""
        ...

    async def derive(self, progress: Progress) -> None:
        """Make what is derived and not cached yet, through the queues."""
        ...

    def close(self) -> None:
        """End the queues and free the sessions."""
        ...


@dataclass(frozen=True, slots=True)
class About:
    """What a source's model is, and where its files are: as it is told before it is loaded."""

    model: str
    """What it is called."""
    precision: str = "fp32"
    """``auto`` where it depends on what is here."""
    folders: tuple[Path, ...] = ()
    """Of the data folder: those that files of it are in, the one that is taken first."""
    own: tuple[Path, ...] = ()
    """Files and folders of the user's that it is made of."""
    origin: str = ""
    """Where files that aren't here would come from, in words."""
    fault: str = ""
    """What is wrong with the files and folders that the settings name; empty: nothing."""
    barred: str = ""
    """Why files that aren't here can't be fetched; empty: nothing forbids it."""


def absent_of(*named: Path | None) -> str:
    """``About.fault`` of files that the settings name; empty where all are there."""
    given = (path for path in named if path is not None)
    return next((f"no such file: {path}" for path in given if not path.is_file()), "")


class ModelSource(Protocol):
    """How the node comes by one manager: blocking steps, run outside the loop."""

    service: str

    def about(self) -> About:
        """What the model is and where its files are; never touches the network."""
        ...

    def look_up(self) -> str:
        """Where files that aren't here can be fetched from, in words; empty: there are none.

        Asks the network. Raises ModelUnavailable where they can't be had.
        """
        ...

    def is_local(self) -> bool:
        """Whether all files are here already, whole; never touches the network."""
        ...

    def download(self, progress: Progress) -> None:
        """Fetch what is missing; raises ModelUnavailable. Resumes what an earlier try left."""
        ...

    def pull(self, progress: Progress) -> None:
        """As ``download``, and what the service can begin without (the data of labels)."""
        ...

    def load(self) -> Manager:
        """Make the manager; raises SetupError."""
        ...
