"""From what a user writes after ``--out`` to where frames go."""

from pathlib import Path

from hearth.cli.view.captures import LIKELY_RATE
from hearth.cli.view.sink import Sink
from hearth.cli.view.sinks import PICTURES, PictureFile, PictureFolder
from hearth.cli.view.source import Source
from hearth.cli.view.video import CODECS, VideoFile
from hearth.errors import SettingsError

PICTURES_RATE = 10.0
"""Frames a second of a video that is made of pictures."""


def open_out(text: str, source: Source, given: str, rate: float | None) -> Sink:
    """A video, a folder or a single picture; ``given`` is what the user wrote as the source.

    Raises SettingsError for what can't be meant, OSError for what can't be written.
    """
    path, origin = Path(text), Path(given)
    suffix = path.suffix.lower()
    if suffix in CODECS and not path.is_dir():
        _spare(path, origin)
        likely = PICTURES_RATE if source.stills else source.rate or LIKELY_RATE
        return VideoFile(path, rate or likely, live=source.live)
    if text.endswith("/") or path.is_dir() or not suffix:
        if source.stills:
            _spare(path, origin if origin.is_dir() else origin.parent)
        return PictureFolder(path)
    if suffix not in PICTURES:
        known = ", ".join((*CODECS, *PICTURES))
        raise SettingsError(f"--out {text}: name a folder, or a file that ends in one of {known}")
    if not (source.stills and source.total == 1):
        raise SettingsError(f"--out {text}: one picture, for many frames: name a folder or a video")
    _spare(path, origin)
    return PictureFile(path)


def _spare(path: Path, origin: Path) -> None:
    """Raises SettingsError where what is written would take the place of what is read."""
    if path.exists() and origin.exists() and path.samefile(origin):
        raise SettingsError(f"--out {path}: the source itself would be written over")
