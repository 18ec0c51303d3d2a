"""Folders of ONNX files: written whole or not at all, and known again by their fingerprints."""

import errno
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hearth import __version__
from hearth.errors import ModelUnavailable
from hearth.files import fingerprint
from hearth.hub.layout import ABOUT, Layout, files_in, layouts, select
from hearth.models.clip.exports.hashes import content
from hearth.models.clip.files import IMAGE, TEXT, read_json

TOWERS = (IMAGE, TEXT)

_ABANDONED = 24 * 3600
"""Seconds after which a folder that nobody has finished is taken away."""


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """A folder to write to, which takes ``folder``'s place at the end of the block.

    Where the block raises nothing is left of it, and ``folder`` is as it was. Raises
    ModelUnavailable where ``folder`` holds something else than an export, and where the
    disk can't take the files.
    """
    require_free(folder)
    work = folder.with_name(f".{folder.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            _sweep(folder)
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            yield work
            _keep(work)
            _move_into_place(work, folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ModelUnavailable(f"no room for {folder}: the disk is full") from error
        reason = (error.strerror or str(error)).lower()
        raise ModelUnavailable(f"can't write {folder}: {reason}") from error


def require_free(folder: Path) -> None:
    """Refuse to replace a folder that isn't an earlier export; raises ModelUnavailable."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / ABOUT).is_file():
        raise ModelUnavailable(f"{folder} holds something else than an export: choose another")


def is_onnx(folder: Path | None) -> bool:
    """Whether all files of a pair of graphs are there."""
    return folder is not None and folder.is_dir() and Layout.ONNX in layouts(files_in(folder))


def model_files(folder: Path) -> tuple[str, ...]:
    """The files that make up the pair, as paths in the folder; raises ModelUnavailable."""
    return select(Layout.ONNX, files_in(folder), folder)


def prints(folder: Path) -> dict[str, dict[str, Any]]:
    """Fingerprints of the graphs and all that lies beside them; raises ModelUnavailable."""
    towers = {path.parent for path in TOWERS}
    try:
        return fingerprint(
            folder / name for name in model_files(folder) if Path(name).parent in towers
        )
    except OSError as error:
        raise ModelUnavailable(f"{folder} can't be read: {error}") from error


def about(folder: Path) -> Mapping[str, Any]:
    """What a folder's ``hearth.json`` says; empty where there is none or it can't be read."""
    try:
        return read_json(folder / ABOUT)
    except ModelUnavailable:
        return {}


def write_about(work: Path, told: Mapping[str, Any], *packages: str) -> None:
    """Write ``hearth.json`` into a finished folder, with what every export says.

    ``packages`` are those whose versions its files depend on.
    """
    write_json(
        work / ABOUT,
        {
            "format": 1,
            **told,
            "files": prints(work),
            "content": content(work),
            "versions": {"hearth": __version__, **{name: version(name) for name in packages}},
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )


def belongs(folder: Path, name: str) -> bool:
    """Whether an export was made of the model of that full name, as far as it tells.

    Equal names of two organisations share a folder; earlier exports don't say whose they are.
    """
    return about(folder).get("reference") in (None, name)


def require_own(folder: Path, name: str) -> None:
    """Refuse to replace another model's export; raises ModelUnavailable."""
    if folder.is_dir() and not belongs(folder, name):
        raise ModelUnavailable(
            f"{folder} holds {about(folder)['reference']}: remove it with `hearth models remove "
            f"{folder.name}`, or choose another folder with --out"
        )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object to a file of its own lines."""
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def _keep(work: Path) -> None:
    """Have the files on the disk before their name promises that they are there."""
    for path in work.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _move_into_place(work: Path, folder: Path) -> None:
    """Put the finished folder where an earlier one may be."""
    old = work.with_name(f"{work.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.replace(old)
    work.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Take away what killed processes left of this folder."""
    for left in folder.parent.glob(f".{folder.name}.*"):
        if time.time() - left.stat().st_mtime > _ABANDONED:
            shutil.rmtree(left, ignore_errors=True)
