"""From what a user names to files: folders are walked, globs are expanded."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from glob import glob, has_magic
from pathlib import Path

from hearth.cli.inputs import STDIN
from hearth.client import TaskInfo
from hearth.errors import InvalidInput

PICTURE_ENDINGS = (
    ".jpg", ".jpeg", ".png", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif",
    ".hif", ".jxl", ".jp2", ".dng", ".nef", ".cr2", ".cr3", ".arw", ".raf", ".rw2", ".orf", ".pef",
)  # fmt: skip
"""Endings of a folder's files that are pictures; whether it knows a format, the node says."""
TEXT_ENDINGS = (".txt",)
"""The same of texts."""

Note = Callable[[str], None]


def expand(given: Iterable[str], task: TaskInfo, note: Note) -> Iterator[str]:
    """The files that are meant, in the order given; those of a folder or a glob are sorted.

    Of a folder, and the folders in it, the files that suit the task, without hidden ones. What
    exists is never a glob; a name without a file stays in, to fail by itself. ``note`` is
    told of folders that are left out. Raises InvalidInput where nothing is found, and OSError.
    """
    for name in given:
        if name in (STDIN, ""):  # an empty name is no folder's, whatever Path makes of it
            yield name
        elif _is(Path.is_dir, name):
            yield from _some(_walk(name, _endings(task), note), f"{name}: {_nothing(task)}")
        elif has_magic(name) and not _is(Path.exists, name):
            # Path.glob takes no pattern from the root, and hidden files as well.
            matches = sorted(glob(name, recursive=True))  # noqa: PTH207
            files = (each for each in matches if _is(Path.is_file, each))
            yield from _some(files, f"{name}: no file matches this")
        else:
            yield name


def _walk(top: str, endings: tuple[str, ...], note: Note) -> Iterator[str]:
    def fail(error: OSError) -> None:
        if error.filename == top:
            raise error
        note(f"{error.filename}: left out: {(error.strerror or str(error)).lower()}")

    for folder, folders, files in os.walk(top, onerror=fail):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        for name in sorted(files):
            if name.startswith(".") or not name.lower().endswith(endings):
                continue
            path = str(Path(folder, name))
            if _is(_is_pipe_or_device, path):
                note(f"{path}: left out: it is no plain file")
            else:
                yield path


def _endings(task: TaskInfo) -> tuple[str, ...]:
    if _takes(task, "image/"):
        return PICTURE_ENDINGS
    return TEXT_ENDINGS if _takes(task, "text/") else ("",)


def _nothing(task: TaskInfo) -> str:
    if _takes(task, "image/"):
        return "no pictures in this folder"
    return "no .txt files in this folder" if _takes(task, "text/") else "no files in this folder"


def _takes(task: TaskInfo, kind: str) -> bool:
    return any(mime.startswith(kind) for mime in task.inputs)


def _some(names: Iterable[str], otherwise: str) -> Iterator[str]:
    empty = True
    for name in names:
        empty = False
        yield name
    if empty:
        raise InvalidInput(otherwise)


def _is_pipe_or_device(path: Path) -> bool:
    """What would be waited for, perhaps for ever."""
    return not stat.S_ISREG(path.stat().st_mode)


def _is(kind: Callable[[Path], bool], name: str) -> bool:
    """A name that can't be looked up is nothing."""
    with suppress(OSError, ValueError):
        return kind(Path(name))
    return False
