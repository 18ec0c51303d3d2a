"""Whether the model of a service is here: its loader's word beside what lies in the data folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hearth.errors import HearthError
from hearth.hub.maintenance import Condition
from hearth.hub.model_files import ModelFiles
from hearth.models.loader import ModelDescription, ModelLoader, describe, is_local

State = Literal["here", "partial", "damaged", "not here", "unavailable"]

_STATES: Mapping[Condition, State] = {
    Condition.PARTIAL: "partial",
    Condition.DAMAGED: "damaged",
}


@dataclass(frozen=True)
class Availability:
    """State of a service's model on the disk: how far it is here."""

    description: ModelDescription
    files: Sequence[ModelFiles]
    """Folders in the data folder, the one that is taken first in front."""
    state: State
    """``here``: it can be loaded; ``unavailable``: never as things stand; else how files lie."""
    reason: str = ""
    """Reason why it is ``unavailable``; empty in any other state."""

    @property
    def size(self) -> int | None:
        """Bytes of its folders; None where nothing is here."""
        return sum(files.size for files in self.files) if self.files else None

    @property
    def damage(self) -> str:
        """Fault of the first of its folders that is damaged; empty: none is known."""
        return next((files.fault for files in self.files if files.fault), "")

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions of its files that are here and may be taken; empty where none tells."""
        return tuple(
            files.precision
            for files in self.files
            if files.precision and files.condition is not Condition.DAMAGED
        )


def availability(loader: ModelLoader, found: Sequence[ModelFiles]) -> Availability:
    """Tell how far a loader's model is here; ``found`` is what lies in the data folder."""
    description = describe(loader)
    files = files_of(description, found)
    # A loader takes local paths as they are; its model says what is wrong with them when loaded.
    if description.fault:
        return Availability(description, files, "unavailable", description.fault)
    try:
        if is_local(loader):
            return Availability(description, files, "here")
    except HearthError as error:
        return Availability(description, files, "unavailable", str(error))
    conditions = [each.condition for each in files if each.condition is not Condition.WHOLE]
    return Availability(description, files, _STATES[conditions[0]] if conditions else "not here")


def files_of(description: ModelDescription, found: Sequence[ModelFiles]) -> list[ModelFiles]:
    """Choose the folders that a model is in, the one that is taken first."""
    by_path = {files.path: files for files in found}
    return [by_path[folder] for folder in description.folders if folder in by_path]
