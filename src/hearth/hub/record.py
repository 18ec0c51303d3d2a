"""The record of what was fetched and verified: one small file for a repository and revision.

Written anew for every file that was verified, and always whole (a temporary file that is
moved into place). Later starts trust it and compare sizes only, which spares them the
hashing of gigabytes.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from hearth.hub.listing import Listing, RemoteFile


@dataclass
class Record:
    """What the hub lists at the commit in use, and which of it is here, verified."""

    folder: Path
    """The repository's folder in the store."""
    revision: str
    listing: Listing
    verified: set[str] = field(default_factory=set)

    @property
    def snapshot(self) -> Path:
        """Where the files of the commit are."""
        return self.folder / self.listing.commit

    def local(self, file: RemoteFile) -> Path:
        return self.snapshot / file.path

    def has(self, file: RemoteFile) -> bool:
        """Whether a file was verified and still has its size."""
        if file.path not in self.verified:
            return False
        try:
            return self.local(file).stat().st_size == file.size
        except OSError:
            return False

    def save(self) -> None:
        """Write the record in one step."""
        content = {**self.listing.to_json(), "verified": sorted(self.verified)}
        path = _path(self.folder, self.revision)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(content, file)
                sync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def load(folder: Path, revision: str) -> Record | None:
    """The record of a revision; None where there is none, or none that can be read."""
    try:
        content = json.loads(_path(folder, revision).read_text(encoding="utf-8"))
        listing = Listing.from_json(content)
        return Record(folder, revision, listing, set(content["verified"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def sync(descriptor: int) -> None:
    """Have the bytes on the disk before a name promises that they are there."""
    os.fsync(descriptor)


def _path(folder: Path, revision: str) -> Path:
    return folder / f"{revision.replace('/', '--')}.json"
