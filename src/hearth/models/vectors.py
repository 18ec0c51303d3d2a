"""Unit vectors, and a session's batches that come out as such."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hearth.backends import Array, Session
from hearth.errors import ModelFailed
from hearth.models.rows import BatchBuilder, BatchRow

Vector = NDArray[np.float32]


def unit(vectors: NDArray[Any]) -> Vector:
    """Bring each row to length 1, as float32; a row of zeros stays what it is."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)


def directed(vectors: Vector) -> NDArray[np.bool_]:
    """Tell which rows (n, dim) have a direction, bool (n,): finite, and not all of them zero."""
    lengths = np.linalg.norm(vectors, axis=1)
    return np.asarray(np.isfinite(lengths) & (lengths > 0), np.bool_)


class VectorRunner:
    """Runs a session on batches of rows, and makes a unit vector of what comes of each.

    ``what`` is the model's name in errors, ``output`` the one of its outputs that counts, (n,
    ``dim``); without ``dim`` of any length. With ``directed`` none may be all zeros. Belongs to
    the thread that owns the session.
    """

    def __init__(
        self,
        session: Session,
        *,
        what: str,
        output: str,
        dim: int | None = None,
        directed: bool = False,
    ) -> None:
        self._session = session
        self._what, self._output, self._dim = what, output, dim
        self._directed = directed
        self._input, self._sizes = session.inputs[0].name, session.batch_sizes.fixed
        self._builder = BatchBuilder()

    def run_rows(self, rows: Sequence[BatchRow | Array]) -> list[Vector | ModelFailed]:
        """Return the vector of each, float32 (dim,) and read-only, or why there is none.

        A graph of a fixed batch gets it filled up. Raises ModelFailed where the session fails or
        gives anything but a vector for each, OutOfMemory.
        """
        if not rows:
            return []
        size = len(rows)
        if self._sizes:
            size = next((fixed for fixed in self._sizes if fixed >= size), size)
        batch, places = self._builder.stack(rows, size)
        numbers = np.asarray(self._session.run({self._input: batch})[self._output])
        shape = numbers.shape
        if len(shape) != 2 or shape[0] != size or not shape[1] or self._dim not in (None, shape[1]):
            each = f"{self._dim} for each" if self._dim else "a vector each"
            raise ModelFailed(f"the {self._what} model gave {shape}, not {each}")
        # What np.linalg.norm does, without the Python around it. A square of a float32 can't
        # overflow here, so a length is finite where all numbers are.
        wide = numbers[list(places)].astype(np.float64)
        lengths = np.sqrt(np.add.reduce(wide * wide, axis=1)).tolist()
        vectors: list[Vector | ModelFailed] = []
        for row, length in zip(wide, lengths, strict=True):
            if isfinite(length) and (length or not self._directed):
                # An array of its own, which several may share: it doesn't keep its batch in memory.
                vector = (row / (length or 1.0)).astype(np.float32)
                vector.setflags(write=False)
                vectors.append(vector)
            else:
                fault = "make no vector" if self._directed else "aren't finite"
                vectors.append(ModelFailed(f"the {self._what} model gave numbers that {fault}"))
        return vectors
