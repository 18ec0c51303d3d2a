"""Sources of frames by what a user writes: cameras, videos, addresses, pictures, the screen."""

import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageGrab

from hearth.client.sources import HEAD, guess_mime
from hearth.errors import InvalidInput, SetupError, one_line
from hearth.media import ImageReader, PixelForm
from hearth.watch import captures
from hearth.watch.frames import BrokenFrame, FrameSource, SourceFrame

SHOWN_NAMES = 3
"""Names of skipped files that are shown."""

MOST_PIXELS = 1_000_000_000
"""Pixels of a user's own picture: whether it is too large is for the node to say."""

RATE = 20.0
"""Frames a second, at most: a large screen takes some 50 ms to copy."""


def open_source(text: str, note: Callable[[str], None]) -> FrameSource:
    """Open a camera's number or device, a video, a picture, a folder, an address, ``screen``.

    Raises SetupError and InvalidInput with one line that says what is wrong, or OSError.
    """
    _keep_quiet()
    if text.isdecimal():
        return captures.camera(int(text))
    if "://" in text:
        return captures.stream(text)
    kind, _, part = text.partition(":")
    if kind == "screen":
        return ScreenSource(text, box_of(part))
    path = Path(text)
    if path.is_dir():
        return _folder(path, note)
    if text.startswith("/dev/"):
        return captures.camera(text)
    return PictureSource([path], path.name) if is_picture(path) else captures.video(path)


def _folder(folder: Path, note: Callable[[str], None]) -> FrameSource:
    paths, others = in_folder(folder)
    if not paths:
        raise SetupError(f"{folder}: there is no picture in it")
    if others:
        names = ", ".join(others[:SHOWN_NAMES])
        if len(others) > SHOWN_NAMES:
            names += f" and {len(others) - SHOWN_NAMES} more"
        note(f"{folder}: skipped what is no picture: {names}")
    return PictureSource(paths, folder.resolve().name)


def _keep_quiet() -> None:
    """Silence OpenCV and its FFmpeg, which tell their troubles on stderr: we say it in one line."""
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET


class PictureSource(FrameSource):
    """Picture files, one after another; one that can't be read doesn't end it."""

    stills = True

    def __init__(self, paths: Sequence[Path], name: str) -> None:
        self.name = name
        self.total = len(paths)
        self._paths = iter(enumerate(paths))
        self._reader = ImageReader(MOST_PIXELS)

    def read(self) -> SourceFrame | BrokenFrame | None:
        number, path = next(self._paths, (0, None))
        if path is None:
            return None
        moment = float(number)
        try:
            file = path.read_bytes()
            pixels = self._reader.pixels(file, PixelForm.SRGB)
        except OSError as error:
            return BrokenFrame(number, moment, path.name, (error.strerror or str(error)).lower())
        except InvalidInput as error:
            return BrokenFrame(number, moment, path.name, str(error))
        return SourceFrame(number, moment, pixels, path.name, file)


def in_folder(folder: Path) -> tuple[list[Path], list[str]]:
    """List the pictures of a folder in their natural order, and the names of its other files.

    Folders in it, and files whose names begin with a dot, are no part of it. Raises OSError.
    """
    files = [path for path in folder.iterdir() if path.is_file() and path.name[0] != "."]
    files.sort(key=lambda path: natural(path.name))
    kinds = [(path, is_picture(path)) for path in files]
    return [path for path, is_one in kinds if is_one], [
        path.name for path, is_one in kinds if not is_one
    ]


def is_picture(path: Path) -> bool:
    """Tell whether a file is a picture, by its first bytes, then its name; raises OSError."""
    with path.open("rb") as file:
        return guess_mime(file.read(HEAD), path.name).startswith("image/")


def natural(name: str) -> tuple[list[tuple[bool, int, str]], str]:
    """Return a key to sort names by: ``frame 2`` comes before ``frame 10``."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name.casefold())
    keys = [(False, int(part), "") if part.isdecimal() else (True, 0, part) for part in parts]
    return keys, name


class ScreenBox(NamedTuple):
    """A part of the screen, in pixels from its top left corner."""

    left: int
    top: int
    right: int
    bottom: int


class ScreenSource(FrameSource):
    """The whole screen, or a part of it."""

    live = True
    rate = RATE

    def __init__(self, name: str, box: ScreenBox | None) -> None:
        """Look at the screen; raises SetupError where there is none to be seen."""
        self.name = name
        self._box = box
        self._number = 0
        self._began = self._due = time.monotonic()
        self._grab()

    def read(self) -> SourceFrame:
        time.sleep(max(0.0, self._due - time.monotonic()))
        now = time.monotonic()
        self._due = max(self._due, now - 1 / RATE) + 1 / RATE
        number, self._number = self._number, self._number + 1
        return SourceFrame(number, now - self._began, np.asarray(self._grab()))

    def _grab(self) -> Image.Image:
        try:
            image = ImageGrab.grab(self._box)
        except Exception as error:
            # Pillow raises what its many ways to a screen raise: OSError, RuntimeError, …
            where = os.environ.get("DISPLAY")
            why = f"display {where}: {one_line(error)}" if where else "there is no display"
            raise SetupError(f"the screen can't be seen: {why}") from None
        return image.convert("RGB")


def box_of(text: str) -> ScreenBox | None:
    """Read what stands behind ``screen:``, such as 640x480+100+50; None for nothing.

    Raises InvalidInput.
    """
    if not text:
        return None
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})(?:\+(\d{1,5})\+(\d{1,5}))?", text)
    if not match:
        raise InvalidInput(f"screen:{text}: write the part as screen:WIDTHxHEIGHT+LEFT+TOP")
    width, height, left, top = (int(part or 0) for part in match.groups())
    return ScreenBox(left, top, left + width, top + height)
