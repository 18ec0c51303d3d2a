"""From what a user writes after ``--out`` to where frames go."""

from pathlib import Path

from hearth.cli.outfile import WRITABLE_PICTURES, spare
from hearth.cli.view.captures import LIKELY_RATE
from hearth.cli.view.pictures import in_folder
from hearth.cli.view.sink import Sink
from hearth.cli.view.sinks import JsonLines, PictureFile, PictureFolder
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
        spare(path, [origin])
        likely = PICTURES_RATE if source.stills else source.rate or LIKELY_RATE
        return VideoFile(path, rate or likely, live=source.live)
    if text.endswith("/") or path.is_dir() or not suffix:
        if source.stills:
            spare(path, [origin if origin.is_dir() else origin.parent])
        return PictureFolder(path)
    if suffix not in WRITABLE_PICTURES:
        known = ", ".join((*CODECS, *WRITABLE_PICTURES))
        raise SettingsError(f"--out {text}: name a folder, or a file that ends in one of {known}")
    if not (source.stills and source.total == 1):
        raise SettingsError(f"--out {text}: one picture, for many frames: name a folder or a video")
    spare(path, [origin])
    return PictureFile(path)


def open_json(path: Path, given: str, out: str | None) -> JsonLines:
    """Lines of JSON; ``given`` is what the user wrote as the source, ``out`` after ``--out``.

    Raises SettingsError and OSError as ``open_out``.
    """
    origin = Path(given)
    spare(path, in_folder(origin)[0] if origin.is_dir() else [origin], "--json")
    if out is not None and path.resolve() == Path(out).resolve():
        raise SettingsError(f"--json {path}: --out is written there")
    return JsonLines(path)
