"""Model files that a package carries: neither from the hub, nor made here.

Needs no more than the standard library: whoever lists files needs no node's packages.
"""

from pathlib import Path
from typing import Protocol

from hearth.hub.maintenance import Condition
from hearth.hub.progress import Progress


class Packaged(Protocol):
    """The files of one service in the data folder; methods block."""

    @property
    def folder(self) -> Path:
        """The folder that they are in; a user may name them by its name."""
        ...

    @property
    def model(self) -> str:
        """The model's id."""
        ...

    @property
    def loss(self) -> str:
        """What nodes that run can't do once the files are removed; empty where it is nothing."""
        ...

    def condition(self) -> Condition | None:
        """How the files are, going by their sizes; None where nothing is here."""
        ...

    def size(self) -> int:
        """Bytes of all that ``remove`` would take away."""
        ...

    def verify(self, progress: Progress) -> list[str]:
        """What is wrong with the files, a line for each; raises ModelUnavailable.

        Where some are here and others aren't, those that are missing are wrong as well. Reads
        every byte. What is wrong counts no longer: the next download brings it anew.
        """
        ...

    def remove(self) -> int:
        """Remove the files; the bytes that are free now. Raises ModelUnavailable."""
        ...


def packaged_in(data_dir: Path) -> list[Packaged]:
    """The files of all such services, whether they are here or not."""
    from hearth.models.mediapipe.files import FOLDER
    from hearth.models.mediapipe.wheel import WheelModels

    return [WheelModels(data_dir / FOLDER)]
