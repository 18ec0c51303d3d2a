"""The model files in the data folder: told, checked against their hashes, and removed."""

import shutil
from pathlib import Path
from typing import NoReturn

from hearth.errors import ModelUnavailable
from hearth.hub.progress import Progress, no_progress
from hearth.hub.upkeep import Condition, check_files, size_of
from hearth.models.mediapipe.bundle import CACHE
from hearth.models.mediapipe.files import FILES, missing_in
from hearth.models.mediapipe.wheel import NAME, PARTIAL, disk_explained, in_turn


def condition(folder: Path) -> Condition | None:
    """How the files are, going by their sizes; None where there is nothing of ours."""
    missing = missing_in(folder)
    if not missing:
        return Condition.WHOLE
    if any((folder / file.local.path).exists() for file in missing):
        return Condition.DAMAGED
    some = len(missing) < len(FILES) or any(_others(folder))
    return Condition.PARTIAL if some else None


def size(folder: Path) -> int:
    """Bytes of all that ``remove`` would take away."""
    files = (folder / file.local.path for file in FILES)
    sizes = (path.stat().st_size for path in files if path.is_file())
    return sum(sizes) + sum(map(size_of, _others(folder)))


def verify(folder: Path, progress: Progress = no_progress) -> list[str]:
    """What is wrong with the files that are here: a line for each, none where all are right.

    Reads every byte. What is wrong is taken away, so that the next download brings it anew.
    Raises ModelUnavailable where the disk refuses, or another process fetches them now.
    """
    here = [file.local for file in FILES if (folder / file.local.path).exists()]
    with disk_explained(folder):
        faults = check_files(folder, here, NAME, progress)
        if faults:
            with in_turn(folder, _is_busy):
                for file in FILES:
                    path = folder / file.local.path
                    # Another process may have brought it anew meanwhile.
                    if file.local.path in faults and path.exists() and not file.local.matches(path):
                        path.unlink()
    return [f"{path} {fault}" for path, fault in sorted(faults.items())]


def remove(folder: Path) -> int:
    """Remove the files, but not what a user has put beside them; the bytes that are free now.

    Raises ModelUnavailable where another process fetches them now, or the disk refuses.
    """
    with disk_explained(folder), in_turn(folder, _is_busy):
        freed = size(folder)
        for file in FILES:
            (folder / file.local.path).unlink(missing_ok=True)
        for other in _others(folder):
            shutil.rmtree(other)
        if not any(folder.iterdir()):
            folder.rmdir()
    return freed


def _others(folder: Path) -> list[Path]:
    return [path for name in (PARTIAL, CACHE) if (path := folder / name).is_dir()]


def _is_busy() -> NoReturn:
    raise ModelUnavailable(f"{NAME} are being fetched by another process: try again after it")
