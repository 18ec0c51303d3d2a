"""Files that answers are written to: never over what is read, and not before there is one."""

import errno
import io
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from hearth.errors import SettingsError

WRITABLE_PICTURES = (".png", ".jpg", ".jpeg")
"""Endings of pictures that are written."""


def spare(path: Path, origins: Iterable[Path], option: str = "--out") -> None:
    """Raises SettingsError where what is written would take the place of what is read."""
    if not path.exists():
        return
    mine = path.stat()
    if any(each.exists() and os.path.samestat(mine, each.stat()) for each in origins):
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
    """A file that is opened, and emptied or added to, when there is something to write."""

    def __init__(self, path: Path, *, add: bool = False) -> None:
        """Raises OSError where it can't be written."""
        check_writable(path)
        self._path = path
        self._mode = "ab" if add else "wb"
        self._file: io.FileIO | None = None

    def write(self, content: bytes) -> None:
        """Write it, so that others can read it at once.

        Raises OSError; nothing of it is there then, where a file can be cut.
        """
        if not content:
            return
        if self._file is None:
            self._file = io.FileIO(self._path, self._mode)
        end = self._file.tell() if self._file.seekable() else None
        try:
            left = memoryview(content)
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            if end is not None:
                with suppress(OSError):
                    self._file.truncate(end)
            raise OSError(error.errno, error.strerror, str(self._path)) from None

    def close(self) -> None:
        """Whether or not there was anything."""
        if self._file is not None:
            self._file.close()


@contextmanager
def renewed(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to that takes the place of ``path`` in one step, once it is whole.

    What is there keeps its permissions, and stays where the block raises. Raises OSError.
    """
    target = path.resolve()  # a link stays one
    # Always the same: what a killed run has left, the next one takes away.
    beside = target.with_name(f".{target.name}.part")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, beside)
        beside.replace(target)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        beside.unlink(missing_ok=True)
