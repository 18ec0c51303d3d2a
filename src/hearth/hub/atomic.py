"""Folders of files that were made here: written whole or not at all, and what they tell.

Needs no more than the standard library, as ``hashes`` and ``integrity``.
"""

import errno
import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hearth.errors import ModelUnavailable
from hearth.hub.integrity import old_place, sweep
from hearth.hub.layout import ABOUT

_TRIES = 3
"""Number of tries: others may put a folder back that was moved away a moment ago."""


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Open a folder to write to, which takes ``folder``'s place at the end of the block.

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


def about(folder: Path) -> Mapping[str, Any]:
    """Read what a folder's ``hearth.json`` says; empty where there is none or it can't be read."""
    try:
        return read_json(folder / ABOUT)
    except ModelUnavailable:
        return {}


def read_json(path: Path) -> Mapping[str, Any]:
    """Read the object in a JSON file; raises ModelUnavailable."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelUnavailable(f"{path} can't be read: {error}") from None
    if not isinstance(content, dict):
        raise ModelUnavailable(f"{path} holds no JSON object")
    return content


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

    Between the two renames the earlier one has a name that ``integrity.restore`` knows: whoever
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
