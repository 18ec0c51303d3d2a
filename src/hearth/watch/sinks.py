"""Where drawn frames go: videos, pictures, lines of JSON."""

import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from hearth.client import Outcome
from hearth.client.messages import outcome_as_json
from hearth.errors import SettingsError, SetupError
from hearth.media import encode
from hearth.media.raw import Pixels
from hearth.output_files import (
    WRITABLE_PICTURES,
    OutputFile,
    check_folder,
    check_writable,
    refuse_overwriting,
    writable_name,
)
from hearth.watch.captures import LIKELY_RATE
from hearth.watch.frames import BrokenFrame, FrameSource, SourceFrame, fitted
from hearth.watch.sources import in_folder

QUALITY = 95
"""Quality of JPEGs."""

CODECS = {".mp4": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
"""Codecs by a video's ending: what every player knows and OpenCV's wheels can write."""

PICTURES_RATE = 10.0
"""Frames a second of a video that is made of pictures."""


class AnsweredFrame(NamedTuple):
    """A frame and what became of it."""

    frame: SourceFrame | BrokenFrame
    outcome: Outcome
    drawn: Pixels | None = None
    """Pixels with what was seen; None where it was dropped, or can't be read."""


class FrameSink(ABC):
    """Place that takes frames in their order, all from one thread."""

    wants_pixels = True
    """Whether frames are to be drawn for it."""
    place = ""
    """Name of where it writes to, for the user to find."""

    @abstractmethod
    def write(self, seen: AnsweredFrame) -> None:
        """Take a frame; blocking. Raises HearthError and OSError."""

    def close(self) -> None:  # noqa: B027
        """Close it; raises as ``write``."""


class JsonLines(FrameSink):
    """One line of JSON for each frame that was sent, or couldn't be."""

    wants_pixels = False

    def __init__(self, path: Path) -> None:
        """Open a file (``-`` is stdout); raises OSError."""
        self._file = OutputFile(path) if str(path) != "-" else None

    def write(self, seen: AnsweredFrame) -> None:
        line: dict[str, Any] = {
            "frame": seen.frame.number,
            "timestamp_ms": round(1000 * seen.frame.moment, 3),
            **({"file": writable_name(seen.frame.name)} if seen.frame.name else {}),
            "task": seen.outcome.job.task,
            **outcome_as_json(seen.outcome),
        }
        content = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        if self._file is not None:
            self._file.write(content)
        else:
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class PictureFolder(FrameSink):
    """A picture for each frame, named as its file or by its number."""

    def __init__(self, folder: Path) -> None:
        """Check the folder; raises OSError where it can't be made or written to."""
        check_folder(folder)
        self._folder, self.place = folder, str(folder)

    def write(self, seen: AnsweredFrame) -> None:
        if seen.drawn is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            name = _picture_name(seen.frame.name) or f"{seen.frame.number:06}.jpg"
            _write(self._folder / name, seen.drawn)


class PictureFile(FrameSink):
    """A single picture."""

    def __init__(self, path: Path) -> None:
        """Check the file; raises OSError where it can't be written."""
        check_writable(path)
        self._path, self.place = path, str(path)

    def write(self, seen: AnsweredFrame) -> None:
        if seen.drawn is not None:
            _write(self._path, seen.drawn)


def _picture_name(name: str) -> str:
    """Return a picture's own name, with an ending that can be written; empty for none."""
    return name if not name or Path(name).suffix.lower() in WRITABLE_PICTURES else f"{name}.png"


def _write(path: Path, pixels: Pixels) -> None:
    """Write RGB (height, width, 3) as a PNG or JPEG, by the path's ending; raises OSError."""
    is_png = path.suffix.lower() == ".png"
    path.write_bytes(encode.png(pixels) if is_png else encode.jpeg(pixels, QUALITY))


class VideoFile(FrameSink):
    """A video with all frames; those of another size are fitted into the first one's."""

    def __init__(self, path: Path, rate: float, *, live: bool) -> None:
        """Check the file; a live source's frames stay for as long as it took until the next came.

        Raises OSError where the file can't be written.
        """
        check_writable(path)
        self.place = str(path)
        self._path, self._rate, self._live = path, rate, live
        self._writer: Any = None
        self._size = (0, 0)
        self._written = 0
        self._began = 0.0
        self._last: Pixels | None = None

    def write(self, seen: AnsweredFrame) -> None:
        if seen.drawn is None:
            return
        if self._writer is None:
            self._began = seen.frame.moment
            self._open(seen.drawn)
        if self._live:
            self._fill(round((seen.frame.moment - self._began) * self._rate))
        self._last = self._as_written(seen.drawn)
        if not self._live:
            self._put()

    def close(self) -> None:
        """Close the video; raises SetupError where no whole one came of it."""
        if self._writer is None:
            return
        if self._live:
            self._put()
        self._writer.release()
        self._writer = None
        if not _is_video(self._path):
            raise SetupError(f"{self._path}: no whole video came of it (is the disk full?)")

    def _open(self, pixels: Pixels) -> None:
        import cv2

        height, width = pixels.shape[:2]
        self._size = max(2, width - width % 2), max(2, height - height % 2)
        code = cv2.VideoWriter.fourcc(*CODECS[self._path.suffix.lower()])
        self._writer = cv2.VideoWriter(
            str(self._path), cv2.CAP_FFMPEG, code, self._rate, self._size
        )
        if not self._writer.isOpened():
            raise SetupError(f"{self._path}: OpenCV can't write a video there")

    def _fill(self, until: int) -> None:
        """Show the last frame until the frame of this number is due."""
        while self._last is not None and self._written < until:
            self._put()

    def _put(self) -> None:
        self._writer.write(self._last)
        self._written += 1

    def _as_written(self, pixels: Pixels) -> Pixels:
        """Convert to BGR of the video's size, with black borders where the shape is another."""
        import cv2

        width, height = self._size
        rows, columns = pixels.shape[:2]
        if (columns - columns % 2, rows - rows % 2) == self._size:
            pixels = pixels[:height, :width]
        else:
            share = min(width / columns, height / rows)
            inner = fitted(pixels, max(1, int(columns * share)), max(1, int(rows * share)))
            above, before = (height - inner.shape[0]) // 2, (width - inner.shape[1]) // 2
            pixels = cv2.copyMakeBorder(
                inner, above, height - inner.shape[0] - above,
                before, width - inner.shape[1] - before, cv2.BORDER_CONSTANT,
            )  # fmt: skip
        turned: Pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        return turned


def _is_video(path: Path) -> bool:
    import cv2

    capture = cv2.VideoCapture(str(path))
    try:
        return bool(capture.isOpened() and capture.read()[0])
    finally:
        capture.release()


def open_out(text: str, source: FrameSource, source_text: str, rate: float | None) -> FrameSink:
    """Open a video, folder or picture; ``source_text`` is what the user wrote as the source.

    Raises SettingsError for what can't be meant, OSError for what can't be written.
    """
    path, origin = Path(text), Path(source_text)
    suffix = path.suffix.lower()
    if suffix in CODECS and not path.is_dir():
        refuse_overwriting(path, [origin])
        likely = PICTURES_RATE if source.stills else source.rate or LIKELY_RATE
        return VideoFile(path, rate or likely, live=source.live)
    if text.endswith("/") or path.is_dir() or not suffix:
        if source.stills:
            refuse_overwriting(path, [origin if origin.is_dir() else origin.parent])
        return PictureFolder(path)
    if suffix not in WRITABLE_PICTURES:
        known = ", ".join((*CODECS, *WRITABLE_PICTURES))
        raise SettingsError(f"--out {text}: name a folder, or a file that ends in one of {known}")
    if not (source.stills and source.total == 1):
        raise SettingsError(f"--out {text}: one picture, for many frames: name a folder or a video")
    refuse_overwriting(path, [origin])
    return PictureFile(path)


def open_json(path: Path, source_text: str, out: str | None) -> JsonLines:
    """Open lines of JSON; ``source_text`` is the source as it was written, ``out`` the ``--out``.

    Raises SettingsError and OSError as ``open_out``.
    """
    origin = Path(source_text)
    refuse_overwriting(path, in_folder(origin)[0] if origin.is_dir() else [origin], "--json")
    if out is not None and path.resolve() == Path(out).resolve():
        raise SettingsError(f"--json {path}: --out is written there")
    return JsonLines(path)
