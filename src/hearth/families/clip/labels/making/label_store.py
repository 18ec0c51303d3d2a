"""The vectors of label sets on disk, made once.

    data/bioclip/onnxrt/bioclip-2/tree_of_life.vectors.npy    unit vectors, to be mapped
    data/bioclip/onnxrt/bioclip-2/tree_of_life.names.npz      names and taxonomy
    data/bioclip/onnxrt/bioclip-2/tree_of_life.meta.json      vouches for both

Vectors appear under their name when all else is there, and are never written to from then on:
other processes have them mapped. What doesn't fit, is cut short or garbled counts as absent,
and is made again.
"""

import asyncio
import json
import logging
import re
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from hearth._version import __version__
from hearth.blocking import run_blocking
from hearth.families.clip.labels.limits import LARGE
from hearth.families.clip.labels.making.label_files import (
    META,
    check,
    described,
    files_of,
)
from hearth.families.clip.labels.making.resumable import ResumableVectors
from hearth.families.clip.labels.sets.catalogue import Catalogue
from hearth.families.clip.labels.sets.source import LabelSource
from hearth.families.clip.labels.vectors import Dtype, Stored
from hearth.files import write_atomic

log = logging.getLogger(__name__)

_FORMAT = 1
_WAIT_SECONDS = 1.0

_LEFT = re.compile(r"\..+\.\d+(-\d+)?")
"""Pattern of names of files and folders that are being written or removed: by a process, a thread.
"""
_ABANDONED = 24 * 3600
"""Seconds after which nobody is at it any more."""


class CachedLabels(NamedTuple):
    """A label set with its vectors."""

    vectors: Stored
    """Unit rows; of large sets mapped, or in memory where there is no disk for them."""
    catalogue: Catalogue
    origin: str
    """Origin of the vectors: ``computed``, or what they were taken over from."""


class LabelStore:
    """The label vectors of one model on one engine.

    ``made_from`` is everything beside labels and prompts that the vectors depend on: the
    model's id, its files, engine and precision. ``older`` are caches of the seed's layouts
    that may be taken over; they are only ever read.
    """

    def __init__(
        self, folder: Path, made_from: Mapping[str, Any], older: Sequence[Path] = ()
    ) -> None:
        self.folder = folder
        self.older = (*older, folder / "text_vectors.npz")
        # As it comes back from JSON, so that it can be compared.
        self._made_from = json.loads(json.dumps(made_from))

    def load(
        self, source: LabelSource, dtype_of: Callable[[int], Dtype], dim: int | None
    ) -> CachedLabels | None:
        """Read what is kept of a set, where it is right; blocking.

        ``dtype_of`` says how so many vectors are to be kept; ``dim`` is the length of each,
        where that is known. Every byte is read: what is kept is used as it is from then on.
        """
        meta_path = self.folder / f"{source.name}{META}"
        try:
            written = meta_path.read_bytes()
            meta = json.loads(written)
            required = {**self._identity(source), "dtype": dtype_of(meta["labels"])}
            required |= {} if dim is None else {"dim": dim}
            # Without the data on the disk nobody can tell: then what is kept counts.
            version = source.version
            required |= {} if version is None else {"version": version}
            if any(meta[name] != value for name, value in required.items()):
                return None
            cached = _read(self.folder, meta)
            # Another process may have replaced them meanwhile: it takes the meta away first.
            return cached if meta_path.read_bytes() == written else None
        except FileNotFoundError:
            return None
        except Exception as error:
            # Files that others may have garbled: whatever is wrong, they are made again.
            log.warning("%s of %s is made again: %r", source.name, self.folder, error)
            return None

    def grow(
        self, source: LabelSource, origin: str, *, rows: int, dim: int, dtype: Dtype
    ) -> ResumableVectors:
        """Open a file for the vectors of a set, or what was begun of it; raises OSError."""
        identity = {**self._identity(source), "version": source.version, "origin": origin}
        path = self.folder / f".{source.name}.vectors.partial"
        target = self.folder / files_of(source.name)["vectors"]
        return ResumableVectors(path, identity, target=target, rows=rows, dim=dim, dtype=dtype)

    def keep(
        self, source: LabelSource, catalogue: Catalogue, vectors: ResumableVectors, origin: str
    ) -> CachedLabels:
        """Keep the vectors, which are all there, with the names; blocking. Raises OSError."""
        paths = {what: self.folder / name for what, name in files_of(source.name).items()}
        meta_path = self.folder / f"{source.name}{META}"
        vectors.checkpoint()
        buffer = BytesIO()
        np.savez(buffer, allow_pickle=False, **catalogue.arrays())
        meta_path.unlink(missing_ok=True)
        paths["vectors"].unlink(missing_ok=True)
        write_atomic(paths["names"], buffer.getvalue())
        meta = {
            **self._identity(source),
            # Of when they were begun: the data may have been replaced meanwhile.
            "version": vectors.identity["version"],
            "dtype": vectors.dtype,
            "labels": vectors.rows,
            "dim": vectors.dim,
            "prompts": source.origin,
            "origin": origin,
            "files": {"vectors": described(vectors.path), "names": described(paths["names"])},
            "hearth": __version__,
            "created": datetime.now(UTC).isoformat(timespec="microseconds"),
        }
        write_atomic(meta_path, (json.dumps(meta, indent=2) + "\n").encode())
        # Who is killed before this finds them all where they grew.
        vectors.move()
        vectors.forget()
        return _read(self.folder, meta)

    @asynccontextmanager
    async def locked(self, name: str, waits: Callable[[], None]) -> AsyncIterator[None]:
        """Hold the lock of a set, over all processes; ``waits`` is told of waiting."""
        import filelock

        path = self.folder / f".{name}.lock"
        lock = filelock.FileLock(path, thread_local=False)
        while not lock.is_locked:
            try:
                await run_blocking(partial(self.folder.mkdir, parents=True, exist_ok=True))
                await run_blocking(partial(lock.acquire, timeout=0))
            except filelock.Timeout:
                waits()
                await asyncio.sleep(_WAIT_SECONDS)
            except (OSError, NotImplementedError) as error:
                log.debug("%s can't be locked: %s", path, error)
                break
        try:
            await run_blocking(self._sweep)
            yield
        finally:
            lock.release()

    def _sweep(self) -> None:
        """Take away what killed writers and removers left, here and of this folder itself."""
        for left in (*self.folder.glob(".*"), *self.folder.parent.glob(f".{self.folder.name}.*")):
            with suppress(OSError):
                if not _LEFT.fullmatch(left.name) or not _is_abandoned(left):
                    continue
                if left.is_dir():
                    shutil.rmtree(left)
                else:
                    left.unlink()

    def _identity(self, source: LabelSource) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "made_from": self._made_from,
            "set": source.name,
            "key": source.key,
        }


def _is_abandoned(path: Path) -> bool:
    return time.time() - path.lstat().st_mtime > _ABANDONED


def _read(folder: Path, meta: Mapping[str, Any]) -> CachedLabels:
    """Read the vectors and names that a meta vouches for; raises whatever is wrong with them."""
    paths = {what: folder / name for what, name in files_of(meta["set"]).items()}
    # Small sets are scored on the event loop, where a page that was evicted would be a read.
    mapped: Literal["r"] | None = "r" if meta["labels"] > LARGE else None
    vectors = np.load(paths["vectors"], mmap_mode=mapped, allow_pickle=False)
    for what, path in paths.items():
        check(path, meta["files"][what])
    with np.load(paths["names"], allow_pickle=False) as arrays:
        catalogue = Catalogue.from_arrays({name: arrays[name] for name in arrays.files})
    shape = (meta["labels"], meta["dim"])
    if (
        vectors.shape != shape
        or vectors.dtype != meta["dtype"]
        or len(catalogue.labels) != shape[0]
    ):
        raise ValueError("vectors, names and meta don't go together")
    return CachedLabels(np.asarray(vectors), catalogue, meta["origin"])
