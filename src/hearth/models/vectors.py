"""Unit vectors, and a session's batches that come out as such."""

from collections.abc import Callable, Sequence
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


def finite(vectors: Vector) -> NDArray[np.bool_]:
    """Tell which rows (n, dim) are finite numbers, bool (n,)."""
    return np.asarray(np.logical_and.reduce(np.isfinite(vectors), axis=1))


def directed(vectors: Vector) -> NDArray[np.bool_]:
    """Tell which rows (n, dim) have a direction, bool (n,): finite, and not all of them zero."""
    lengths = np.linalg.norm(vectors, axis=1)
    return np.asarray(np.isfinite(lengths) & (lengths > 0), np.bool_)


class VectorRunner:
    """Runs a session on batches of rows, and makes a unit vector of what comes of each.

    ``what`` is the model's name in errors, ``output`` the one of its outputs that counts, (n,
    ``dim``); without ``dim`` of any length. ``good`` tells which of them are vectors, and
    ``fault`` what the others are. Belongs to the thread that owns the session.
    """

    def __init__(
        self,
        session: Session,
        *,
        what: str,
        output: str,
        dim: int | None = None,
        good: Callable[[Vector], NDArray[np.bool_]] = finite,
        fault: str = "aren't finite",
    ) -> None:
        self._session = session
        self._what, self._output, self._dim = what, output, dim
        self._good, self._fault = good, fault
        self._builder = BatchBuilder()

    def run_rows(self, rows: Sequence[BatchRow | Array]) -> list[Vector | ModelFailed]:
        """Return the vector of each, float32 (dim,) and read-only, or why there is none.

        A graph of a fixed batch gets it filled up. Raises ModelFailed where the session fails or
        gives anything but a vector for each, OutOfMemory.
        """
        if not rows:
            return []
        fixed = self._session.batch_sizes.fixed
        size = next((size for size in fixed if size >= len(rows)), len(rows))
        batch, places = self._builder.stack(rows, size)
        numbers = self._session.run({self._session.inputs[0].name: batch})[self._output]
        vectors = np.atleast_1d(np.asarray(numbers, np.float32))
        if vectors.shape != (size, self._dim or vectors.shape[-1]) or not vectors.shape[-1]:
            each = f"{self._dim} for each" if self._dim else "a vector each"
            raise ModelFailed(f"the {self._what} model gave {vectors.shape}, not {each}")
        vectors = vectors[list(places)]
        good = self._good(vectors)
        made = unit(np.where(good[:, None], vectors, 0))
        failure = f"the {self._what} model gave numbers that {self._fault}"
        return [
            _kept(vector) if is_good else ModelFailed(failure)
            for vector, is_good in zip(made, good, strict=True)
        ]


def _kept(vector: Vector) -> Vector:
    """Copy a vector that several may share, so that it doesn't keep its batch in memory."""
    alone = vector.copy()
    alone.setflags(write=False)
    return alone
