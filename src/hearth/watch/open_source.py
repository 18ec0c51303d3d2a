"""From what a user writes to a source."""

import os
from collections.abc import Callable
from pathlib import Path

from hearth.errors import SetupError
from hearth.watch import captures, screen
from hearth.watch.frames import Source
from hearth.watch.pictures import Pictures, in_folder, is_picture

SHOWN_NAMES = 3
"""How many names of skipped files are shown."""


def open_source(text: str, note: Callable[[str], None]) -> Source:
    """A camera's number or device, a video, a picture, a folder, an address, ``screen``.

    Raises SetupError and InvalidInput with one line that says what is wrong, or OSError.
    """
    _keep_quiet()
    if text.isdecimal():
        return captures.camera(int(text))
    if "://" in text:
        return captures.stream(text)
    kind, _, part = text.partition(":")
    if kind == "screen":
        return screen.Screen(text, screen.box_of(part))
    path = Path(text)
    if path.is_dir():
        return _folder(path, note)
    if text.startswith("/dev/"):
        return captures.camera(text)
    return Pictures([path], path.name) if is_picture(path) else captures.video(path)


def _folder(folder: Path, note: Callable[[str], None]) -> Source:
    paths, others = in_folder(folder)
    if not paths:
        raise SetupError(f"{folder}: there is no picture in it")
    if others:
        names = ", ".join(others[:SHOWN_NAMES])
        if len(others) > SHOWN_NAMES:
            names += f" and {len(others) - SHOWN_NAMES} more"
        note(f"{folder}: skipped what is no picture: {names}")
    return Pictures(paths, folder.resolve().name)


def _keep_quiet() -> None:
    """OpenCV and its FFmpeg tell their troubles on stderr; we say it in one line."""
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
