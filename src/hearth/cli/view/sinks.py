"""Where frames go beside a video: pictures, lines of JSON."""

import sys
from pathlib import Path
from typing import Any

import orjson

from hearth.cli.inputs import writable
from hearth.cli.outfile import WRITABLE_PICTURES, LateFile, check_folder, check_writable
from hearth.cli.report import parts_of, told
from hearth.cli.view.sink import Seen, Sink
from hearth.media import encode
from hearth.media.raw import Pixels

QUALITY = 95
"""Of JPEGs."""


class JsonLines(Sink):
    """One line of JSON for each frame that was sent, or couldn't be."""

    wants_pixels = False

    def __init__(self, path: Path) -> None:
        """``-`` is stdout; raises OSError."""
        self._file = LateFile(path) if str(path) != "-" else None

    def write(self, seen: Seen) -> None:
        line: dict[str, Any] = {
            "frame": seen.frame.number,
            "timestamp_ms": round(1000 * seen.frame.moment, 3),
            **({"file": writable(seen.frame.name)} if seen.frame.name else {}),
            "task": seen.outcome.job.task,
            **told(seen.outcome),
            **({"entries": parts} if (parts := parts_of(seen.outcome)) else {}),
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


class PictureFolder(Sink):
    """A picture for each frame, named as its file or by its number."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError where the folder can't be made or written to."""
        check_folder(folder)
        self._folder, self.place = folder, str(folder)

    def write(self, seen: Seen) -> None:
        if seen.drawn is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            name = _picture_name(seen.frame.name) or f"{seen.frame.number:06}.jpg"
            _write(self._folder / name, seen.drawn)


class PictureFile(Sink):
    """A single picture."""

    def __init__(self, path: Path) -> None:
        """Raises OSError where the file can't be written."""
        check_writable(path)
        self._path, self.place = path, str(path)

    def write(self, seen: Seen) -> None:
        if seen.drawn is not None:
            _write(self._path, seen.drawn)


def _picture_name(name: str) -> str:
    """A picture's own name, with an ending that can be written; empty for none."""
    return name if not name or Path(name).suffix.lower() in WRITABLE_PICTURES else f"{name}.png"


def _write(path: Path, pixels: Pixels) -> None:
    """RGB (height, width, 3) as a PNG or JPEG, by the path's ending; raises OSError."""
    is_png = path.suffix.lower() == ".png"
    path.write_bytes(encode.png(pixels) if is_png else encode.jpeg(pixels, QUALITY))
