"""The manifest of what was fetched and verified: one small file for a repository and revision.

Written anew for every file that was verified, and always whole. Later starts trust it and
compare sizes only, which spares them the hashing of gigabytes.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from hearth.files import write_atomic
from hearth.hub.repository_listing import Listing, RemoteFile


@dataclass
class Manifest:
    """List of the hub's files at the commit in use, and which of them are here, verified."""

    folder: Path
    """The repository's folder in the store."""
    revision: str
    listing: Listing
    verified: set[str] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)
    """Files that were verified once and have been found wrong since: to be fetched anew."""

    @property
    def begun(self) -> bool:
        """Whether files of the commit are in use, which ties the store to it."""
        return bool(self.verified or self.damaged)

    @property
    def snapshot(self) -> Path:
        """Folder of the commit's files."""
        return self.folder / self.listing.commit

    def local(self, file: RemoteFile) -> Path:
        return self.snapshot / file.path

    def has(self, file: RemoteFile) -> bool:
        """Tell whether a file was verified and still has its size."""
        if file.path not in self.verified:
            return False
        try:
            return self.local(file).stat().st_size == file.size
        except OSError:
            return False

    def lost(self) -> list[str]:
        """List the paths of what was whole once and isn't any more, going by sizes."""
        files = self.listing.files
        gone = {path for path in self.verified if not self.has(files[path])}
        return sorted(gone | self.damaged)

    def accept(self, file: RemoteFile) -> None:
        """Let a file count from now on; its content was just proved."""
        self.verified.add(file.path)
        self.damaged.discard(file.path)
        self.save()

    def reject(self, file: RemoteFile) -> None:
        """Let a file count no longer; its content is wrong."""
        self.verified.discard(file.path)
        self.damaged.add(file.path)
        self.save()

    def save(self) -> None:
        """Write the manifest in one step."""
        content = {
            **self.listing.to_json(),
            "verified": sorted(self.verified),
            "damaged": sorted(self.damaged),
        }
        write_atomic(_path(self.folder, self.revision), json.dumps(content).encode())


def load(folder: Path, revision: str) -> Manifest | None:
    """Read the manifest of a revision; None where there is none, or none that can be read."""
    try:
        content = json.loads(_path(folder, revision).read_text(encoding="utf-8"))
        listing = Listing.from_json(content)
        verified, damaged = (
            set(content.get(name, ())) & set(listing.files) for name in ("verified", "damaged")
        )
        return Manifest(folder, revision, listing, verified, damaged)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def manifests_in(folder: Path) -> list[Manifest]:
    """Read the manifests of all revisions that a repository's folder holds."""
    loaded = (load(folder, path.stem) for path in sorted(folder.glob("*.json")))
    return [manifest for manifest in loaded if manifest is not None]


def made_of(snapshot: Path, what: str) -> Path:
    """Name the folder for what is made here of a commit's files, beside them.

    No commit's name holds a hyphen, so it can't be another's.
    """
    return snapshot.with_name(f"{snapshot.name}-{what}")


DYNAMIC_BATCH = "free-batch"
"""Value of ``made_of`` for copies of graphs whose batch axis was fixed, and is free in the copy."""


def impossible_mark(snapshot: Path, what: str) -> Path:
    """Name the file that says why ``made_of(snapshot, what)`` can't be made."""
    # No copy's name: that would begin with the commit and a hyphen.
    return snapshot.with_name(f"{snapshot.name}.not-{what}")


def remove_all(folder: Path) -> None:
    """Remove every manifest: from then on none of the folder's files counts. Raises OSError."""
    for path in folder.glob("*.json"):
        path.unlink()


def _path(folder: Path, revision: str) -> Path:
    return folder / f"{revision.replace('/', '--')}.json"
