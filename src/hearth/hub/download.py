"""Files of one commit fetched into the store: resumed, proved, and counted one by one."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from hearth.errors import ModelUnavailable
from hearth.hub.maintenance import PARTIAL
from hearth.hub.manifest import Manifest
from hearth.hub.progress import Progress
from hearth.hub.remote import Damaged, Remote
from hearth.hub.repository_listing import RemoteFile

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a disk that takes no more."""


class Download:
    """One repository's files on their way; under the repository's lock. Blocking."""

    def __init__(self, remote: Remote, manifest: Manifest, progress: Progress) -> None:
        self._remote = remote
        self._manifest = manifest
        self._progress = progress

    def complete(self, requested: list[RemoteFile]) -> None:
        """Fetch those of the files that aren't here; raises ModelUnavailable, OSError."""
        missing = [file for file in requested if not self._manifest.has(file)]
        name = self._manifest.listing.repository
        partial = self._manifest.folder / PARTIAL
        partial.mkdir(parents=True, exist_ok=True)
        total = sum(file.size for file in requested)
        done = total - sum(file.size for file in missing)
        self._require_space(missing, partial)
        self._progress(name, done, total, "bytes")
        for file in missing:
            here = done

            def received(size: int, here: int = here) -> None:
                self._progress(name, here + size, total, "bytes")

            self._take(file, partial / file.digest, received)
            done += file.size
        self._progress(name, total, total, "bytes")
        # The lock is ours, so whatever lies there still belongs to a commit that has gone.
        shutil.rmtree(partial)

    def _take(self, file: RemoteFile, part: Path, received: Callable[[int], None]) -> None:
        """Have one file in its place, and let it count once it is proved whole."""
        target = self._manifest.local(file)
        # Whole already where a process was killed before it could write that down.
        if not file.matches(target):
            self._fetch(file, part, received)
            target.parent.mkdir(parents=True, exist_ok=True)
            part.replace(target)
        self._manifest.accept(file)

    def _fetch(self, file: RemoteFile, part: Path, received: Callable[[int], None]) -> None:
        """Have ``part`` whole and on the disk, or gone where it can't become whole."""
        listing = self._manifest.listing
        try:
            resumed = True
            while resumed:
                resumed = part.exists()
                self._remote.fetch(listing, file, part, received)
                part.touch()
                if file.matches(part):
                    with part.open("rb") as written:
                        os.fsync(written.fileno())
                    return
                # What an earlier try left may be at fault (a power cut can garble it):
                # once more from the start, then it is the hub's.
                part.unlink()
            raise Damaged(
                f"{file.path} of {listing.repository} came damaged "
                f"(its {file.kind} is wrong) and was removed; try again"
            )
        except Damaged:
            part.unlink(missing_ok=True)
            raise
        except OSError as error:
            if error.errno in DISK_FULL:
                # Give the room back: more than this download may need it.
                part.unlink(missing_ok=True)
            raise

    def _require_space(self, missing: list[RemoteFile], partial: Path) -> None:
        sizes = {part.name: part.stat().st_size for part in partial.iterdir()}
        need = sum(max(0, file.size - sizes.get(file.digest, 0)) for file in missing)
        free = shutil.disk_usage(partial).free
        if need > free:
            raise ModelUnavailable(
                f"no room for {self._manifest.listing.repository}: {_megabytes(need)} needed, "
                f"{_megabytes(free)} free in {self._manifest.folder.parent}"
            )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
