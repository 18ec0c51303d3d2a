"""Folders of ONNX files: written whole or not at all, and known again by their fingerprints."""

import errno
import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hearth import __version__
from hearth.errors import ModelUnavailable
from hearth.files import fingerprint
from hearth.hub.layout import ABOUT, Layout, files_in, select
from hearth.models.clip.exports.commands import how_to_make_again
from hearth.models.clip.exports.hashes import content
from hearth.models.clip.exports.sound import damage, is_onnx, old_place, sweep
from hearth.models.clip.files import IMAGE, TEXT, read_json

TOWERS = (IMAGE, TEXT)

_TRIES = 3
"""Others may put a folder back that was moved away a moment ago."""


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
            sweep(folder)
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


def what_is_damaged(folder: Path, name: str, precision: str = "fp32") -> str | None:
    """What is wrong with an export of the model of that full name, and how to make it anew.

    None where there is none of that model, or nothing is known to be wrong with it.
    """
    if not is_onnx(folder) or not belongs(folder, name) or (why := damage(folder)) is None:
        return None
    again = how_to_make_again({**about(folder), "reference": name}, precision)
    return f"{folder} is damaged ({why}): {again}"


def belongs(folder: Path, name: str) -> bool:
    """Whether an export was made of the model of that full name, as far as it tells.

    Equal names of two organisations share a folder; earlier exports don't say whose they are.
    """
    return about(folder).get("reference") in (None, name)


def require_own(folder: Path, name: str) -> None:
    """Refuse to replace another model's export; raises ModelUnavailable."""
    if folder.is_dir() and not belongs(folder, name):
        name_of_it = folder.name if "@" in folder.name else f"{folder.name}@fp32"
        raise ModelUnavailable(
            f"{folder} holds {about(folder)['reference']}: remove it with `hearth models remove "
            f"{name_of_it}`, or choose another folder with --out"
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
    """Put the finished folder where an earlier one may be.

    Between the two renames the earlier one has a name that ``sound.restore`` knows: whoever
    looks for it next puts it back, where this process is killed there.
    """
    for left in reversed(range(_TRIES)):
        old = old_place(folder)
        if folder.exists():
            folder.replace(old)
        try:
            work.replace(folder)
        except OSError as error:
            if left and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                continue  # put back by another process, meanwhile
            sweep(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
        return
