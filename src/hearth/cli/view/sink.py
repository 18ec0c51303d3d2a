"""What a place is that frames go to."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from hearth.cli.view.frames import Broken, Frame
from hearth.client import Outcome
from hearth.media.raw import Pixels


class Seen(NamedTuple):
    """A frame and what became of it."""

    frame: Frame | Broken
    outcome: Outcome
    drawn: Pixels | None = None
    """None where there is nothing to be shown: it was dropped, or can't be read."""


class Sink(ABC):
    """Takes frames in their order, all from one thread."""

    wants_pixels = True
    """Whether frames are to be drawn for it."""
    place = ""
    """Where it writes to, for the user to find."""

    @abstractmethod
    def write(self, seen: Seen) -> None:
        """Take a frame; blocking. Raises HearthError and OSError."""

    def close(self) -> None:  # noqa: B027
        """Bring it to its end; raises as ``write``."""
