"""Maintenance of the store's folders: told, checked against their hashes, and removed."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hearth.hub import manifest as manifests
from hearth.hub import repository_names
from hearth.hub.manifest import Manifest, made_of
from hearth.hub.progress import Progress
from hearth.hub.repository_listing import RemoteFile

PARTIAL = ".partial"
"""Name of a file in a repository's folder, for as long as a download isn't finished."""


class Condition(StrEnum):
    """State of a repository's files, going by the manifests and by sizes."""

    WHOLE = "whole"
    """All that was asked for is here."""
    PARTIAL = "partial"
    """A download was interrupted, or goes on now."""
    DAMAGED = "damaged"
    """Files that were whole aren't any more."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A repository of which something is here."""

    repository: str
    folder: Path
    commit: str | None
    """None before a file of it is whole."""
    size: int
    """Bytes in all, also those of unfinished files."""
    condition: Condition
    made: tuple[Path, ...] = ()
    """Folders of what was made here of its files."""


def stored(store: Path) -> list[Stored]:
    """List the repositories in a store's folder, by name; reads manifests and sizes alone."""
    if not store.is_dir():
        return []
    named = ((repository_names.of_folder(folder.name), folder) for folder in store.iterdir())
    return sorted(
        (describe(name, folder) for name, folder in named if name and folder.is_dir()),
        key=lambda found: found.repository,
    )


def check(manifest: Manifest, progress: Progress) -> dict[str, str]:
    """Find what is wrong with a manifest's files: words by path. Reads every byte of them."""
    files = manifest.listing.files
    counted = [files[path] for path in sorted(manifest.verified | manifest.damaged)]
    return check_files(manifest.snapshot, counted, manifest.listing.repository, progress)


def check_files(
    folder: Path, files: Iterable[RemoteFile], name: str, progress: Progress
) -> dict[str, str]:
    """Find what is wrong with files of a folder, going by their hashes: words by path.

    Reads every byte; ``name`` is what the progress tells of.
    """
    counted = list(files)
    what, total = f"checking {name}", sum(file.size for file in counted)
    done = 0
    faults = {}
    for file in counted:
        start = done

        def read(size: int, start: int = start) -> None:
            progress(what, start + size, total)

        try:
            fault = file.fault(folder / file.path, read)
        except OSError as error:
            fault = f"can't be read ({(error.strerror or str(error)).lower()})"
        if fault is not None:
            faults[file.path] = fault
        done += file.size
    progress(what, total, total)
    return faults


def settle(manifest: Manifest, suspects: dict[str, str]) -> None:
    """Keep in the manifest which files are wrong, and which are right (again).

    ``suspects`` is what ``check`` found; those are read once more, for another process may
    have mended them meanwhile. Only under the repository's lock.
    """
    for path in sorted(manifest.verified | manifest.damaged):
        file = manifest.listing.files[path]
        if path in suspects and not _is_right(manifest, path):
            if path not in manifest.damaged:
                manifest.reject(file)
        elif path in manifest.damaged and _is_right(manifest, path):
            manifest.accept(file)


def remove(folder: Path) -> int:
    """Remove a repository's folder; the bytes that it held. Only under the repository's lock.

    The manifests go first: what a crash leaves after that counts for nothing. Of a link to
    somewhere else only the link goes. Raises OSError.
    """
    if folder.is_symlink():
        folder.unlink()
        return 0
    size = size_of(folder)
    manifests.remove_all(folder)
    shutil.rmtree(folder)
    return size


def sweep(folder: Path) -> None:
    """Take away what processes left that were killed while they made something of the files.

    Only under the repository's lock: nobody else makes anything then, so whatever is half made
    is left over.
    """
    for left in folder.glob(".*-*.*"):
        shutil.rmtree(left, ignore_errors=True)


def size_of(folder: Path) -> int:
    """Count the bytes of all files below a folder; those that go away meanwhile don't count."""
    size = 0
    for path in folder.rglob("*"):
        try:
            if path.is_file():
                size += path.stat().st_size
        except OSError:
            continue
    return size


def describe(repository: str, folder: Path) -> Stored:
    """Tell what is here of a repository; reads no more than manifests and sizes."""
    manifests_here = manifests.manifests_in(folder)
    if any(manifest.lost() for manifest in manifests_here):
        condition = Condition.DAMAGED
    elif not manifests_here or (folder / PARTIAL).exists():
        condition = Condition.PARTIAL
    else:
        condition = Condition.WHOLE
    commit = next((manifest.listing.commit for manifest in manifests_here), None)
    made = [
        path
        for manifest in manifests_here
        for path in folder.glob(made_of(manifest.snapshot, "*").name)
    ]
    return Stored(repository, folder, commit, size_of(folder), condition, tuple(sorted(made)))


def _is_right(manifest: Manifest, path: str) -> bool:
    file = manifest.listing.files[path]
    try:
        return file.matches(manifest.local(file))
    except OSError:
        return False
