"""Files that answers are written to: never over what is read, and not before there is one."""

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

from hearth.errors import SettingsError

PICTURES = (".png", ".jpg", ".jpeg")
"""Endings of pictures that are written."""


def spare(path: Path, origins: Iterable[Path], option: str = "--out") -> None:
    """Raises SettingsError where what is written would take the place of what is read."""
    if path.exists() and any(each.exists() and path.samefile(each) for each in origins):
        raise SettingsError(f"{option} {path}: the source itself would be written over")


def check_writable(path: Path) -> None:
    """Raises OSError; what is there stays as it is until there is something to write."""
    there = path.exists()
    if there and not (path.is_file() or path.is_dir()):
        return  # a pipe or a device: opening it is felt at its other end
    with path.open("ab"):
        pass
    if not there:
        with suppress(OSError):
            os.unlink(path)  # noqa: PTH108


def check_folder(folder: Path) -> None:
    """Raises OSError where no files can be put there; it is made when there is one."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "not a directory", str(place))
    if not os.access(place, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "permission denied", str(place))


class LateFile:
    """A file that is opened, and emptied, when there is something to write."""

    def __init__(self, path: Path) -> None:
        """Raises OSError where it can't be written."""
        check_writable(path)
        self._path = path
        self._file: IO[bytes] | None = None

    def write(self, content: bytes) -> None:
        """Write it, so that others can read it at once; raises OSError."""
        if not content:
            return
        if self._file is None:
            self._file = self._path.open("wb")
        self._file.write(content)
        self._file.flush()

    def close(self) -> None:
        """Whether or not there was anything."""
        if self._file is not None:
            self._file.close()
