"""One half of a CLIP: a session from pixels or tokens to unit vectors, and its queue."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hearth.backends import Array, Session
from hearth.batching import BatchQueue
from hearth.errors import ModelFailed, ModelUnavailable

Vector = NDArray[np.float32]


class Tower:
    """A session with one input and, among its outputs, the embedding.

    ``what`` is ``image`` or ``text``. Raises ModelUnavailable for any other session.
    """

    def __init__(self, session: Session, what: str) -> None:
        if len(session.inputs) != 1:
            names = ", ".join(spec.name for spec in session.inputs)
            raise ModelUnavailable(f"the {what} graph must have one input; this one takes {names}")
        self.session = session
        self._what = what
        self._input = session.inputs[0]
        # Exporters add hidden states; what counts is called an embedding, or is a matrix.
        self._output = min(
            session.outputs, key=lambda spec: ("embed" not in spec.name, len(spec.shape) != 2)
        )

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the input."""
        return self._input.dtype

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Of the input, with the batch."""
        return self._input.shape

    @property
    def shown(self) -> str:
        """The input's shape for people."""
        return "×".join("n" if size is None else str(size) for size in self.shape)

    @property
    def dim(self) -> int | None:
        """The length of a vector, where the graph tells."""
        return self._output.shape[-1] if self._output.shape else None

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether an item of this shape goes in."""
        mine = self.shape[1:]
        return len(shape) == len(mine) and all(
            wanted in (None, size) for size, wanted in zip(shape, mine, strict=True)
        )

    def queue(self, max_batch: int, capacity: int) -> BatchQueue[Array, Vector]:
        """A new batch queue, from items to unit vectors, that owns the session from now on."""
        largest = self.session.batch_sizes.limit(max_batch)
        name = f"clip-{self._what}"
        return BatchQueue(self._run, name=name, max_batch=largest, capacity=capacity)

    def _run(self, items: Sequence[Array]) -> Sequence[Vector]:
        sizes = self.session.batch_sizes.fixed
        size = next((size for size in sizes if size >= len(items)), len(items))
        # A graph of a fixed size gets its batch filled up.
        stacked = np.stack([*items, *[items[-1]] * (size - len(items))])
        vectors = self.session.run({self._input.name: stacked})[self._output.name]
        vectors = np.atleast_1d(np.asarray(vectors, np.float32))[: len(items)]
        if vectors.ndim != 2 or not vectors.shape[1]:
            raise ModelFailed(f"the {self._what} model gave {vectors.shape}, not a vector each")
        if not np.isfinite(vectors).all():
            # The queue halves the batch until the culprit fails alone.
            raise ModelFailed(f"the {self._what} model gave numbers that aren't finite")
        return list(unit(vectors))


def unit(vectors: NDArray[Any]) -> Vector:
    """Each row at length 1, as float32; a row of zeros stays what it is."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)
