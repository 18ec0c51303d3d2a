"""Hashes of an export's files from when it was made, and whether they still hold.

Needs no more than the standard library: whoever checks files needs no node's packages.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hearth.files import fingerprint
from hearth.hub.layout import ABOUT, ModelLayout, files_in, select
from hearth.hub.maintenance import check_files
from hearth.hub.progress import Progress
from hearth.hub.repository_listing import SHA256, RemoteFile


def content(folder: Path) -> dict[str, dict[str, Any]]:
    """Compute size and SHA-256 of an export's files, by path: all but ``hearth.json``, which lists
    them.

    Reads every byte. Raises OSError.
    """
    prints = {}
    for name in filter(lambda name: name != ABOUT, files_in(folder)):
        with (folder / name).open("rb") as file:
            digest = hashlib.file_digest(file, SHA256).hexdigest()
        prints[name] = {"size": (folder / name).stat().st_size, SHA256: digest}
    return prints


def faults(folder: Path, metadata: Mapping[str, Any], progress: Progress) -> list[str] | None:
    """Tell what is wrong with an export's files, a line for each; None where nothing tells.

    ``metadata`` is what its ``hearth.json`` says: the SHA-256 of all files; in earlier exports
    only the size and the hash of both ends of each graph. Reads every byte. Raises OSError,
    and ModelUnavailable where a file of the model is missing of which nothing is told.
    """
    known = metadata.get("content")
    if isinstance(known, dict) and known:
        files = [_listed(name, entry) for name, entry in sorted(known.items())]
        wrong = check_files(folder, files, folder.name, progress)
        return [f"{name} {fault}" for name, fault in wrong.items()]
    select(ModelLayout.ONNX, files_in(folder), folder)
    prints = metadata.get("files")
    if not isinstance(prints, dict) or not prints:
        return None
    actual = fingerprint(folder / name for name in prints if (folder / name).is_file())
    return [
        f"{name} isn't the file that was made" if name in actual else f"{name} is missing"
        for name, expected in sorted(prints.items())
        if actual.get(name) != expected
    ]


def _listed(name: str, entry: object) -> RemoteFile:
    """Describe a file as the hub lists it; with what no file has, where the entry isn't ours."""
    known = entry if isinstance(entry, dict) else {}
    return RemoteFile(name, known.get("size", -1), SHA256, known.get(SHA256, ""))
