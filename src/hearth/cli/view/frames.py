"""A frame on its way: taken from a source, made small enough, sent."""

from collections.abc import Sequence
from typing import NamedTuple

from hearth.client.mime import guess
from hearth.media import encode
from hearth.media.raw import MIME as RAW_FRAME
from hearth.media.raw import Pixels

JPEG = "image/jpeg"


class Frame(NamedTuple):
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


class Broken(NamedTuple):
    """A picture that can't be read."""

    number: int
    moment: float
    name: str
    reason: str


class Sending(NamedTuple):
    """How frames are to be sent."""

    longest: int | None = None
    """Pixels of the longer side; None: as it is."""
    raw: bool = False
    mimes: Sequence[str] = ()
    """What the task takes."""


class Sent(NamedTuple):
    """A frame as it is sent."""

    payload: bytes
    mime: str
    width: int
    height: int


def sent(frame: Frame, how: Sending) -> Sent:
    """The request's payload: a picture's own file, a JPEG, or raw RGB. Blocking."""
    pixels = _smaller(frame.pixels, how.longest)
    height, width = pixels.shape[:2]
    if how.raw:
        mime = f"{RAW_FRAME};format=rgb;width={width};height={height}"
        return Sent(pixels.tobytes(), mime, width, height)
    if frame.file and pixels is frame.pixels and (mime := guess(frame.file)) in how.mimes:
        return Sent(frame.file, mime, width, height)
    return Sent(encode.jpeg(pixels), JPEG, width, height)


def _smaller(pixels: Pixels, longest: int | None) -> Pixels:
    height, width = pixels.shape[:2]
    if longest is None or max(height, width) <= longest:
        return pixels
    return resized(pixels, longest / max(height, width))


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
