"""Files that are there whole or not at all, and what tells one from another."""

import hashlib
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_EDGE = 1 << 20


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one step: whoever reads finds the old content or the new, never half.

    The bytes are on the disk before the name promises that they are there. The folder must
    exist. Raises OSError, and leaves nothing behind then.
    """
    # Of its own for each writer: two of them must not write into one file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def fingerprint(files: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """What tells model files from others: by name, the size and a SHA-256 of both ends.

    The first and the last MiB: hashing gigabytes would take longer than loading them.
    Raises OSError.
    """
    prints = {}
    for path in files:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            hasher = hashlib.sha256(file.read(_EDGE))
            file.seek(max(size - _EDGE, 0))
            hasher.update(file.read(_EDGE))
        name = f"{path.parent.name}/{path.name}"
        prints[name] = {"size": size, "sha256_of_ends": hasher.hexdigest()}
    return prints
