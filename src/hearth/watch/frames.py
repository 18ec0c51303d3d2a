"""Frames, and what a source of them is."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from hearth.media.raw import Pixels


class SourceFrame(NamedTuple):
    """A picture of a source."""

    number: int
    """From 0; those that a slow node missed are counted."""
    moment: float
    """When it was taken, in seconds; later than the frame before."""
    pixels: Pixels
    """RGB uint8 (height, width, 3), upright; nobody is to change it."""
    name: str = ""
    """Of its file, where it has one of its own."""
    file: bytes = b""
    """The file, where it shows just these pixels."""


class BrokenFrame(NamedTuple):
    """A picture that can't be read."""

    number: int
    moment: float
    name: str
    reason: str


class FrameSource(ABC):
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
    def read(self) -> SourceFrame | BrokenFrame | None:
        """The next frame, or None at the end; blocking. Raises HearthError."""

    def close(self) -> None:  # noqa: B027
        """Let go of it; when nobody reads."""


def resized(pixels: Pixels, share: float) -> Pixels:
    """Pixels (height, width, any), both sides times ``share`` and at least 1."""
    height, width = pixels.shape[:2]
    return fitted(pixels, max(1, round(width * share)), max(1, round(height * share)))


def fitted(pixels: Pixels, width: int, height: int) -> Pixels:
    """Pixels of just this size, stretched."""
    import cv2

    if pixels.shape[:2] == (height, width):
        return pixels
    kind = cv2.INTER_AREA if width * height < pixels.shape[0] * pixels.shape[1] else cv2.INTER_CUBIC
    made: Pixels = cv2.resize(pixels, (width, height), interpolation=kind)
    return made
