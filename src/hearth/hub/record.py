"""The record of what was fetched and verified: one small file for a repository and revision.

Written anew for every file that was verified, and always whole. Later starts trust it and
compare sizes only, which spares them the hashing of gigabytes.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from hearth.files import write_whole
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
        write_whole(_path(self.folder, self.revision), json.dumps(content).encode())


def load(folder: Path, revision: str) -> Record | None:
    """The record of a revision; None where there is none, or none that can be read."""
    try:
        content = json.loads(_path(folder, revision).read_text(encoding="utf-8"))
        listing = Listing.from_json(content)
        return Record(folder, revision, listing, set(content["verified"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _path(folder: Path, revision: str) -> Path:
    return folder / f"{revision.replace('/', '--')}.json"
