"""What a source is."""

from abc import ABC, abstractmethod

from hearth.cli.view.frames import Broken, Frame


class Source(ABC):
    """Where frames come from; read by one thread at a time."""

    name: str
    live = False
    """Whether it goes on without us: a frame that isn't taken now is gone."""
    stills = False
    """Whether its frames are pictures of their own, with nothing between one and the next."""
    rate: float | None = None
    """Frames a second, where that is known."""
    total: int | None = None
    """How many frames there are, as far as that is known."""

    @abstractmethod
    def read(self) -> Frame | Broken | None:
        """The next frame, or None at the end; blocking. Raises HearthError."""

    def close(self) -> None:  # noqa: B027
        """Let go of it; when nobody reads."""
