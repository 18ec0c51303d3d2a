"""Scoring: the likeliest of any number of labels, for several vectors at once."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hearth.errors import InvalidInput, ModelFailed
from hearth.families.clip.labels.limits import MOST_ANSWERS
from hearth.families.clip.labels.sets.catalogue import Catalogue
from hearth.families.clip.labels.vectors import Stored, products
from hearth.models.vectors import Vector

Scored = list[tuple[str, float]]
"""Labels with their probabilities, the best first."""

_CHUNK = 64


class Query(NamedTuple):
    """Query to an index."""

    vector: Vector
    """A picture's unit vector, float32 (dim,)."""
    top: int
    """Number of answers; never more than MOST_ANSWERS."""
    rank: str | None = None
    """Sum the probabilities at this rank of the taxonomy."""


class LabelIndex:
    """Labels with their unit vectors, float32 or float16 (labels, dim).

    ``scale`` and ``bias`` are the model's: a label's logit is scale · cosine + bias. Raises
    ValueError where there isn't one vector for each label, or no label at all.
    """

    def __init__(
        self, vectors: Stored, catalogue: Catalogue, *, scale: float, bias: float | None = None
    ) -> None:
        if vectors.ndim != 2 or len(vectors) != len(catalogue.labels) or not len(vectors):
            raise ValueError(f"{len(catalogue.labels)} labels, vectors of {vectors.shape}")
        self.vectors = vectors
        self.catalogue = catalogue
        self._scale = np.float32(scale)
        self._bias = np.float32(bias or 0.0)

    def __len__(self) -> int:
        return len(self.vectors)

    def answers(self, queries: Sequence[Query]) -> list[Scored]:
        """Find the likeliest labels, or groups of them, for each query; in one matrix product.

        No more than there are come back, and no more than ``MOST_ANSWERS``. Equal scores
        come in the order of the labels. Raises InvalidInput for a rank where there are none,
        and ModelFailed where a vector holds anything but numbers.
        """
        logits = products(self.vectors, np.stack([query.vector for query in queries]))
        logits *= self._scale
        logits += self._bias
        return [self._answer(row, query) for row, query in zip(logits, queries, strict=True)]

    def _answer(self, logits: Vector, query: Query) -> Scored:
        """Compute the best of the softmax over all labels (Radford et al. 2021, figure 3)."""
        with np.errstate(invalid="ignore"):
            weights = np.exp(logits - logits.max())
        total = float(weights.sum(dtype=np.float64))
        if not math.isfinite(total):
            raise ModelFailed("the label vectors are damaged: scores aren't finite")
        labels, taxonomy = self.catalogue.labels, self.catalogue.taxonomy
        count = min(query.top, MOST_ANSWERS)
        if query.rank is None:
            chosen = best(logits, count)
            return [(labels[int(one)], float(weights[one]) / total) for one in chosen]
        if taxonomy is None:
            raise InvalidInput("these labels have no ranks")
        sums = taxonomy.sums(query.rank, weights)
        chosen = best(sums, count)
        return [
            (taxonomy.name(query.rank, int(one), labels), float(sums[one]) / total)
            for one in chosen
        ]


def best(scores: NDArray[Any], count: int) -> NDArray[np.intp]:
    """Find the indices of the ``count`` highest of (n,), the highest first; of equals the first.

    Nothing but a few candidates is sorted: of the maxima of chunks, the one in the place
    ``count`` is a bound that so many scores reach.
    """
    chunks = len(scores) // _CHUNK
    if not 0 < count < chunks:
        return np.argsort(-scores, kind="stable")[:count]
    maxima = scores[: chunks * _CHUNK].reshape(chunks, _CHUNK).max(axis=1)
    bound = np.partition(maxima, chunks - count)[chunks - count]
    candidates = np.flatnonzero(scores >= bound)
    order = np.argsort(-scores[candidates], kind="stable")[:count]
    return np.asarray(candidates[order], np.intp)
