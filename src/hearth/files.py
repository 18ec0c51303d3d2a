"""Files that are there whole or not at all, and what tells one from another."""

import hashlib
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

_EDGE = 1 << 20
_LONGEST_NAME = 200
"""Bytes of a name to which a writer's own can be added: file systems take 255."""


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file in one step: whoever reads finds the old content or the new, never half.

    The folder must exist. Raises OSError, and leaves nothing behind then.
    """
    with atomic_file(path) as file:
        file.write(content)


@contextmanager
def atomic_file(path: Path, *, alone: bool = False) -> Iterator[IO[bytes]]:
    """Open a file to write to that takes the place of ``path`` in one step, once it is whole.

    The bytes are on the disk before the name promises that they are there. What is there keeps
    its permissions, a link stays a link, and all stays as it is where the block raises.
    ``alone``: nobody else writes this path, so what a killed process has left of it is written
    over. Raises OSError.
    """
    target = Path(os.path.realpath(path))  # `resolve` has an error of its own for links in circles
    # Of its own for each writer: two of them must not write into one file.
    writer = "part" if alone else f"{os.getpid()}-{threading.get_ident()}"
    temporary = target.with_name(f".{_shortened(target.name)}.{writer}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            shutil.copymode(target, temporary)
        temporary.replace(target)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)


def _shortened(name: str) -> str:
    """Leave room for a writer's own name: long ones are told by their hash."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= _LONGEST_NAME else hashlib.sha256(encoded).hexdigest()


def fingerprint(files: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Tell model files from others: by name, the size and a SHA-256 of both ends.

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
