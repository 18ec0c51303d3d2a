"""Vectors that others made, read from an .npy file block by block, never as a whole."""

from collections.abc import Sequence
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray

from hearth.models.vectors import Vector

_FLOATS = ("float16", "float32", "float64")


class Matrix(Protocol):
    """Vectors for labels, not necessarily of length 1."""

    @property
    def rows(self) -> int:
        """Number of vectors."""
        ...

    @property
    def dim(self) -> int:
        """The length of each."""
        ...

    def block(self, start: int, end: int) -> Vector:
        """Copy some of them, float32 (end - start, dim), for the caller to keep.

        Raises whatever stands in the way: files may come from anywhere.
        """
        ...

    def close(self) -> None:
        """Let the file go."""
        ...


class NpyMatrix:
    """The array in an open .npy file (or a member of an .npz), which it then owns.

    ``columns``: the array is (dim, labels), else (labels, dim). Raises ValueError for
    anything but a matrix of floats. Nothing is ever unpickled, and a header has 64 KiB at most.
    """

    def __init__(self, file: IO[bytes], *, columns: bool = False) -> None:
        self._file = file
        shape, fortran, self._dtype = _header(file)
        if len(shape) != 2 or self._dtype.name not in _FLOATS:
            raise ValueError(f"an array of {self._dtype} {shape}, not a matrix of floats")
        self.rows, self.dim = shape[::-1] if columns else shape
        self._one_by_one = fortran == columns
        """Whether the numbers of a label lie side by side."""
        self._start = file.tell()

    @property
    def ends_at(self) -> int:
        """Least length of the file, in bytes, if it is whole."""
        return self._start + self.rows * self.dim * self._dtype.itemsize

    def block(self, start: int, end: int) -> Vector:
        """See ``Matrix``."""
        size = end - start
        if self._one_by_one:
            flat = self._read(start * self.dim, size * self.dim)
            return flat.reshape(size, self.dim).astype(np.float32)
        made = np.empty((self.dim, size), np.float32)
        for number in range(self.dim):
            made[number] = self._read(number * self.rows + start, size)
        return np.ascontiguousarray(made.T)

    def close(self) -> None:
        """Let the file go."""
        self._file.close()

    def _read(self, offset: int, count: int) -> NDArray[np.floating]:
        size = self._dtype.itemsize
        # In an archive this reads as well.
        self._file.seek(self._start + offset * size)
        content = self._file.read(count * size)
        if len(content) != count * size:
            raise ValueError("the file is cut short")
        return np.frombuffer(content, self._dtype)


class HeldMatrix:
    """Vectors (rows, dim) that are in memory already, or mapped."""

    def __init__(self, vectors: NDArray[np.floating]) -> None:
        self._vectors = vectors
        self.rows, self.dim = vectors.shape

    def block(self, start: int, end: int) -> Vector:
        """See ``Matrix``."""
        return np.array(self._vectors[start:end], np.float32)

    def close(self) -> None:
        """Do nothing: there is nothing to let go."""


def picked(matrix: Matrix, rows: Sequence[int]) -> Vector:
    """Copy single rows of it, ascending: float32 (rows, dim)."""
    return np.concatenate([matrix.block(row, row + 1) for row in rows])


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = np.lib.format.read_magic(file)
    if version != (1, 0):  # the others are for headers that are longer
        raise ValueError(f"an .npy file of version {version}")
    return np.lib.format.read_array_header_1_0(file)
