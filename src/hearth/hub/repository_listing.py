"""Listing of a repository of the hub at one commit."""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from hearth.errors import ModelUnavailable

SHA256 = "sha256"
GIT = "git-sha1"
"""Git's own name for a file's content: SHA-1 over ``blob SIZE NUL`` and the bytes."""

_DIGITS = {SHA256: 64, GIT: 40}
_HEX = set("0123456789abcdef")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file: its path in the repository, its size in bytes, and the hash of its content."""

    path: str
    size: int
    kind: str
    digest: str

    def matches(self, local: Path) -> bool:
        """Tell whether a local file has this content; reads all of it. Raises OSError."""
        return self.fault(local) is None

    def fault(self, local: Path, read: Callable[[int], None] | None = None) -> str | None:
        """Tell what is wrong with a local file, in words; None where it has this content.

        Reads all of it, and tells ``read`` the bytes so far. Raises OSError.
        """
        if not local.is_file():
            return "is missing"
        if (size := local.stat().st_size) != self.size:
            return f"has {size} bytes instead of {self.size}"
        hasher = hashlib.sha256() if self.kind == SHA256 else hashlib.sha1(usedforsecurity=False)
        if self.kind == GIT:
            hasher.update(f"blob {self.size}\0".encode())
        done = 0
        with local.open("rb") as file:
            while chunk := file.read(_CHUNK):
                hasher.update(chunk)
                done += len(chunk)
                if read is not None:
                    read(done)
        return None if hasher.hexdigest() == self.digest else f"has a wrong {self.kind}"


@dataclass(frozen=True)
class Listing:
    """All files of a repository at one commit, by path."""

    repository: str
    commit: str
    files: Mapping[str, RemoteFile]

    def select(self, patterns: Iterable[str]) -> list[RemoteFile]:
        """Choose the files that any pattern matches, sorted by path.

        Patterns are shell-style, and ``*`` also matches ``/``. A pattern without
        wildcards names a file that must be there; one with wildcards may match
        nothing, as long as something is left. Raises ModelUnavailable.
        """
        chosen: set[str] = set()
        for pattern in patterns:
            matches = {path for path in self.files if path == pattern or fnmatchcase(path, pattern)}
            if not matches and not set(pattern) & set("*?["):
                raise ModelUnavailable(
                    f"{self.repository} has no {pattern} (at commit {self.commit[:8]})"
                )
            chosen |= matches
        if not chosen:
            raise ModelUnavailable(f"{self.repository} has none of the files that are needed")
        return [self.files[path] for path in sorted(chosen)]

    def to_json(self) -> dict[str, Any]:
        """Make the part of a manifest on disk that ``from_json`` reads back."""
        rows = [[file.path, file.size, file.kind, file.digest] for file in self.files.values()]
        return {"repository": self.repository, "commit": self.commit, "files": rows}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Listing":
        """Read what ``to_json`` made; raises ValueError, KeyError or TypeError for all else."""
        files = [RemoteFile(*row) for row in content["files"]]
        return make_listing(content["repository"], content["commit"], files)


def make_listing(repository: str, commit: str, files: Iterable[RemoteFile]) -> Listing:
    """Make a listing whose names are safe to be used as local paths; raises ValueError."""
    # All of it comes from a server, and becomes paths: none may lead out of its folder.
    if not re.fullmatch(r"[A-Za-z0-9]{7,64}", commit):
        raise ValueError(f"{commit!r} is no commit")
    by_path = {file.path: file for file in files}
    for file in by_path.values():
        parts = PurePosixPath(file.path).parts
        if not parts or parts[0] == "/" or ".." in parts or "\\" in file.path:
            raise ValueError(f"{file.path!r} is no path within a repository")
        if file.size < 0 or len(file.digest) != _DIGITS[file.kind] or set(file.digest) - _HEX:
            raise ValueError(f"{file.path} is listed without a proper size and hash")
    return Listing(repository, commit, by_path)
