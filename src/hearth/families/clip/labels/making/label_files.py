"""Whether the files of a kept label set are what its meta says."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

META = ".meta.json"


def files_of(name: str) -> dict[str, str]:
    """Name a set's files, by what they hold."""
    return {"vectors": f"{name}.vectors.npy", "names": f"{name}.names.npz"}


def described(path: Path) -> dict[str, Any]:
    """Describe a file as its meta does; raises OSError."""
    return {
        "size": path.stat().st_size,
        "sha256": sha256(path),
    }


def check(path: Path, promised: Mapping[str, Any]) -> None:
    """See that a file is as described; raises ValueError.

    A start hashes gigabytes so, a second for each where the processor has SHA instructions;
    and has them in memory then, where they are wanted.
    """
    if path.stat().st_size != promised["size"]:
        raise ValueError(f"{path.name} is not of the size that its meta says")
    if sha256(path) != promised["sha256"]:
        raise ValueError(f"{path.name} is damaged")


def sha256(path: Path) -> str:
    """Hash a whole file; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify_folder(folder: Path) -> list[str]:
    """Tell what is wrong with the label sets kept in a folder, a line each; reads every byte.

    Sets that are still being made are no problem. Raises OSError where the folder can't be
    read.
    """
    problems = []
    for meta_path in sorted(folder.glob(f"*{META}")):
        name = meta_path.name.removesuffix(META)
        try:
            meta = json.loads(meta_path.read_bytes())
            if not isinstance(meta, dict) or "set" not in meta:
                continue  # another's: the seed's caches have metas of that ending as well
            problems += _problems(folder, name, meta)
        except Exception as error:  # whatever has become of them
            problems.append(f"{meta_path.name} can't be read: {error!r}")
    return problems


def _problems(folder: Path, name: str, meta: Mapping[str, Any]) -> list[str]:
    problems = []
    for what, file in files_of(name).items():
        path = folder / file
        promised = meta["files"][what]
        if not path.is_file():
            problems.append(f"{file} is missing")
        elif (size := path.stat().st_size) != promised["size"]:
            problems.append(f"{file} has {size} bytes instead of {promised['size']}")
        elif sha256(path) != promised["sha256"]:
            problems.append(f"{file} is damaged: its SHA-256 is wrong")
    return problems
