"""Files that answers are written to: never over what is read, and not before there is one."""

import errno
import io
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from hearth.errors import SettingsError, SetupError

WRITABLE_PICTURES = (".png", ".jpg", ".jpeg")
"""Endings of pictures that are written."""


def refuse_overwriting(path: Path, origins: Iterable[Path], option: str = "--out") -> None:
    """Check that nothing that is read is written over; raises SettingsError."""
    if not path.exists():
        return
    target = path.stat()
    if any(each.exists() and os.path.samestat(target, each.stat()) for each in origins):
        raise SettingsError(f"{option} {path}: the source itself would be written over")


def check_writable(path: Path) -> None:
    """Check that a file can be written; raises OSError.

    What is there stays as it is until there is something to write.
    """
    there = path.exists()
    if there and not (path.is_file() or path.is_dir()):
        return  # a pipe or a device: opening it is felt at its other end
    with path.open("ab"):
        pass
    if not there:
        with suppress(OSError):
            os.unlink(path)  # noqa: PTH108


def check_folder(folder: Path) -> None:
    """Check that files can be put into a folder, which may not be there; raises OSError."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "not a directory", str(place))
    if not os.access(place, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "permission denied", str(place))


class OutputFile:
    """File that is emptied or added to when there is something to write.

    From the beginning to the end no other run can write a plain file; a pipe is opened late.
    """

    def __init__(self, path: Path, *, add: bool = False) -> None:
        """Lock it; raises OSError where it can't be written, SetupError where another run does."""
        self._path = path
        self._is_plain = not path.exists() or path.is_file() or path.is_dir()
        self._is_to_be_emptied = self._is_plain and not add
        self._is_ours_alone = not path.exists()
        self._file = _locked(path) if self._is_plain else None

    def reopen(self) -> None:
        """Go on with the file that has taken the place of this one; raises as at first."""
        if self._file is not None:
            before, self._file = self._file, _locked(self._path)
            before.close()

    def write(self, content: bytes) -> None:
        """Write it, so that others can read it at once.

        Raises OSError; nothing of it is there then, where a file can be cut.
        """
        if not content:
            return
        if self._file is None:
            self._file = io.FileIO(self._path, "ab")
        if self._is_to_be_emptied:
            self._file.truncate(0)
        self._is_to_be_emptied = self._is_ours_alone = False
        end = os.fstat(self._file.fileno()).st_size if self._is_plain else None
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
        """Close it; a file that wasn't there isn't left empty."""
        if self._file is not None and not self._file.closed:
            if self._is_ours_alone and not os.fstat(self._file.fileno()).st_size:
                with suppress(OSError):
                    self._path.resolve().unlink()
            self._file.close()


def _locked(path: Path) -> io.FileIO:
    """Open a file to add to, for us alone; the kernel unlocks it when the process ends.

    Raises OSError, and SetupError where another run has it.
    """
    while True:
        file = io.FileIO(path, "ab")  # always at its end, should somebody else empty it
        try:
            _lock(file, path)
        except BaseException:
            file.close()
            raise
        if _is_at(file, path):
            return file
        file.close()  # the run that had it has put another in its place, or taken it away


def _lock(file: io.FileIO, path: Path) -> None:
    if sys.platform == "win32":
        return  # a lock there keeps others from reading as well
    from filelock import lock_descriptor

    try:
        is_ours = lock_descriptor(file.fileno(), blocking=False)
    except OSError:
        return  # a file system without locks
    if not is_ours:
        raise SetupError(f"{path}: another run is writing it")


def _is_at(file: io.FileIO, path: Path) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def writable_name(name: str) -> str:
    """Return a file's name with what is no Unicode written out: two names stay two."""
    return name.encode(errors="backslashreplace").decode()
