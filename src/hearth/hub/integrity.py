"""Whether an export may be taken: what can be told of its files before they are loaded.

Reads no more than ``hearth.json``, sizes, and both ends of each graph's files: the hashes of
all bytes are ``hashes.faults``'s, and what those found wrong is marked. Needs no more than the
standard library, as ``hashes``.
"""

import json
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hearth.files import fingerprint, write_atomic
from hearth.hub.layout import ABOUT, ModelLayout, files_in, layouts

MARK = "damaged"
"""A file in an export whose bytes were found wrong: it isn't taken until it is made anew."""

ABANDONED = 24 * 3600
"""Seconds after which a folder that nobody has finished is taken away."""


def is_onnx(folder: Path | None) -> bool:
    """Tell whether all files of a pair of graphs are there."""
    return folder is not None and folder.is_dir() and ModelLayout.ONNX in layouts(files_in(folder))


def is_sound(folder: Path) -> bool:
    """Tell whether an export is here, and nothing is known to be wrong with it."""
    restore(folder)
    return is_onnx(folder) and damage(folder) is None


def damage(folder: Path) -> str | None:
    """Tell what is known to be wrong with an export, in a few words; None: nothing."""
    if (folder / MARK).is_file():
        return "`hearth models verify` found it damaged"
    return damage_at_a_glance(folder)


def damage_at_a_glance(folder: Path) -> str | None:
    """Tell what is wrong with an export now, whatever was found earlier; reads ends of files."""
    try:
        return _damage(folder)
    except OSError as error:
        return f"it can't be read ({(error.strerror or str(error)).lower()})"


def mark(folder: Path, problems: list[str]) -> None:
    """Keep in a folder that it is damaged, where the disk takes that."""
    with suppress(OSError):
        write_atomic(folder / MARK, ("\n".join(problems) + "\n").encode("utf-8", "replace"))


def unmark(folder: Path) -> None:
    """Take the mark away: all its bytes are right (again)."""
    with suppress(OSError):
        (folder / MARK).unlink(missing_ok=True)


def old_place(folder: Path) -> Path:
    """Name the place where an export lies while a new one takes its place."""
    return folder.with_name(f".{folder.name}.old-{os.getpid()}-{time.monotonic_ns()}")


def restore(folder: Path) -> None:
    """Put an export back that was moved away, where whoever did it was killed before the end."""
    if folder.exists() or not folder.parent.is_dir():
        return
    for old in sorted(folder.parent.glob(f".{folder.name}.old-*")):
        if is_onnx(old):
            with suppress(OSError):
                old.replace(folder)
            return


def restore_all(exports: Path) -> None:
    """Put back all exports of a folder that were moved away, as ``restore``."""
    for old in sorted(exports.glob(".*.old-*")):
        restore(exports / old.name[1:].rpartition(".old-")[0])


def sweep(folder: Path) -> None:
    """Take away what killed processes left of this folder; first puts back what must stay."""
    restore_all(folder.parent)
    for left in folder.parent.glob(f".{folder.name}.*"):
        with suppress(OSError):
            age = time.time() - left.stat().st_mtime
            if age > ABANDONED or not _has_owner(left.name):
                shutil.rmtree(left, ignore_errors=True)


def _damage(folder: Path) -> str | None:
    metadata: Mapping[str, Any] = {}
    if (folder / ABOUT).is_file():
        try:
            metadata = json.loads((folder / ABOUT).read_text("utf-8"))
        except (ValueError, RecursionError):
            return f"{ABOUT} can't be read"
        if not isinstance(metadata, dict):
            return f"{ABOUT} holds no JSON object"
    present = set(files_in(folder))
    listed = metadata.get("content")
    for name, entry in sorted(listed.items() if isinstance(listed, dict) else ()):
        if name not in present:
            return f"{name} is missing"
        size = (folder / name).stat().st_size
        if isinstance(entry, dict) and size != entry.get("size"):
            return f"{name} has {size} bytes instead of {entry.get('size')!r}"
    prints = metadata.get("files")
    if not isinstance(prints, dict):
        return None
    actual = fingerprint(folder / name for name in prints if name in present)
    return next(
        (f"{name} isn't the file that was made" for name in sorted(prints)
         if actual.get(name) != prints[name]),
        None,
    )  # fmt: skip


def _has_owner(name: str) -> bool:
    """Tell whether the process still is there that a folder's name ends with: PID-THREAD."""
    number = name.rpartition(".")[2].removeprefix("old-").partition("-")[0]
    if not number.isdigit():
        return True
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # somebody else's
    return True
