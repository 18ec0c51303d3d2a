"""An .npy file of vectors that grows on the disk, and can be taken up again after a kill."""

import json
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from hearth.families.clip.labels.vectors import BLOCK, Dtype, stored
from hearth.files import write_atomic
from hearth.models.vectors import Vector

_LOOSE = 0.01
"""Distance from 1 that a vector may be that was rounded to float16."""


class ResumableVectors:
    """Vectors (rows, dim) written one after another, of which ``done`` are there.

    What an earlier try left at ``path`` is gone on with where its ``identity`` is the same
    (all that the vectors depend on), up to its last ``checkpoint``. A mapped file on a full
    disk would kill the process, and so would one that is cut short: this one is written, and
    never again once it is the target. Blocking; every method raises OSError.
    For one process at a time; of its threads one may abandon what another one writes.
    """

    def __init__(
        self,
        path: Path,
        identity: Mapping[str, Any],
        *,
        target: Path,
        rows: int,
        dim: int,
        dtype: Dtype,
    ) -> None:
        self.path = path
        self.rows, self.dim, self.dtype = rows, dim, dtype
        self.done = 0
        self._turn = threading.Lock()
        self._target = target
        self._note = path.with_name(f"{path.name}.json")
        self._header = _header(rows, dim, dtype)
        self._width = dim * np.dtype(dtype).itemsize
        self.identity = json.loads(json.dumps({**identity, "header": self._header.hex()}))
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = self._kept()
        if not kept:
            # Where nothing can be locked, somebody else may be at it.
            path.unlink(missing_ok=True)
        self._file: IO[bytes] = path.open("r+b" if kept else "w+b")
        try:
            self._begin(kept)
        except BaseException:
            self._file.close()
            raise

    @property
    def missing_bytes(self) -> int:
        """Bytes that the file has still to grow."""
        return (self.rows - self.done) * self._width

    def append(self, vectors: Vector) -> None:
        """Add unit vectors, float32 (n, dim)."""
        content: NDArray[Any] = np.ascontiguousarray(stored(vectors, self.dtype))
        with self._turn:
            self._file.write(content.data)
            self.done += len(vectors)

    def checkpoint(self) -> None:
        """Have all that was added on the disk, and noted there."""
        with self._turn:
            self._file.flush()
            os.fsync(self._file.fileno())
            note = {"identity": self.identity, "rows": self.done}
            write_atomic(self._note, json.dumps(note).encode())

    def move(self) -> None:
        """Let the file appear as the target, once all rows are there and noted."""
        self._file.close()
        self.path.replace(self._target)

    def forget(self) -> None:
        """Forget what was noted: there is nothing to go on with."""
        self._note.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Stop here. What has no checkpoint goes, for its room may be needed."""
        with self._turn:
            with suppress(OSError):
                self._file.close()  # writes what was buffered, where there is room
            if not self.path.exists():
                return
            if rows := self._noted():
                os.truncate(self.path, len(self._header) + rows * self._width)
            else:
                self.path.unlink()

    def _begin(self, rows: int) -> None:
        self.done = self._sound(rows)
        if not self.done:
            self._note.unlink(missing_ok=True)
            self._file.seek(0)
            self._file.write(self._header)
        self._file.seek(len(self._header) + self.done * self._width)
        self._file.truncate()

    def _kept(self) -> int:
        """Return the rows that an earlier try has noted, of these very vectors."""
        rows = self._noted()
        size = len(self._header) + rows * self._width
        try:
            return rows if self.path.stat().st_size >= size else 0
        except OSError:
            return 0

    def _noted(self) -> int:
        try:
            note = json.loads(self._note.read_bytes())
            rows = int(note["rows"])
            return rows if note["identity"] == self.identity and 0 < rows <= self.rows else 0
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return 0

    def _sound(self, rows: int) -> int:
        """Count the unit vectors up to the first row that isn't one: disks lose things."""
        self._file.seek(0)
        if not rows or self._file.read(len(self._header)) != self._header:
            return 0
        for start in range(0, rows, BLOCK):
            content = self._file.read(min(BLOCK, rows - start) * self._width)
            block = np.frombuffer(content, self.dtype).reshape(-1, self.dim)
            lengths = np.linalg.norm(block.astype(np.float32), axis=1)
            wrong = np.flatnonzero(~(np.abs(lengths - 1) < _LOOSE))
            if len(wrong):
                return start + int(wrong[0])
        return rows


def _header(rows: int, dim: int, dtype: Dtype) -> bytes:
    buffer = BytesIO()
    described = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (rows, dim)}
    np.lib.format.write_array_header_1_0(buffer, described)
    return buffer.getvalue()
