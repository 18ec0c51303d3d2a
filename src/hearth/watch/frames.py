"""Frames, and what a source of them is."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from hearth.media.raw import Pixels


class SourceFrame(NamedTuple):
    """A picture of a source."""

    number: int
    """Number from 0; frames that a slow node missed are counted."""
    moment: float
    """Time when it was taken, in seconds; later than the frame before."""
    pixels: Pixels
    """Pixels, RGB uint8 (height, width, 3), upright; nobody is to change them."""
    name: str = ""
    """Name of its file, where it has one of its own."""
    file: bytes = b""
    """Bytes of the file, where it shows just these pixels."""


class BrokenFrame(NamedTuple):
    """A picture that can't be read."""

    number: int
    moment: float
    name: str
    reason: str


class FrameSource(ABC):
    """Source of frames; read by one thread at a time."""

    name: str
    live = False
    """Whether it goes on without us: a frame that isn't taken now is gone."""
    stills = False
    """Whether its frames are pictures of their own, with nothing between one and the next."""
    rate: float | None = None
    """Frames a second, where that is known."""
    total: int | None = None
    """Number of frames, as far as it is known."""

    @abstractmethod
    def read(self) -> SourceFrame | BrokenFrame | None:
        """Read the next frame, or None at the end; blocking. Raises HearthError."""

    def close(self) -> None:  # noqa: B027
        """Close it, when nobody reads."""


def resized(pixels: Pixels, share: float) -> Pixels:
    """Scale pixels (height, width, any): both sides times ``share`` and at least 1."""
    height, width = pixels.shape[:2]
    return fitted(pixels, max(1, round(width * share)), max(1, round(height * share)))


def fitted(pixels: Pixels, width: int, height: int) -> Pixels:
    """Stretch pixels to just this size."""
    import cv2

    if pixels.shape[:2] == (height, width):
        return pixels
    kind = cv2.INTER_AREA if width * height < pixels.shape[0] * pixels.shape[1] else cv2.INTER_CUBIC
    made: Pixels = cv2.resize(pixels, (width, height), interpolation=kind)
    return made
