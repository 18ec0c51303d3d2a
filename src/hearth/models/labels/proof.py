"""Whether vectors that others made are of this very model: a sample of them is made anew."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice

import numpy as np

from hearth.models.labels.matrices import Matrix, picked
from hearth.models.labels.vectors import Vector, unit

SAMPLES = 8

_LEAST_COSINE = 0.3
"""On average. Between unrelated directions it is 0 ± 0.04 at 512 numbers; the same label in
other words, as the vectors may have been made from, is well above."""

_TIE = 1e-5

EmbedLabels = Callable[[Sequence[Sequence[str]]], Awaitable[Vector]]
"""Makes the vectors of labels from their prompts."""


async def misfit(
    matrix: Matrix, prompts: Callable[[], Iterator[Sequence[str]]], embed: EmbedLabels
) -> str | None:
    """Why the vectors aren't those that the model makes of the labels; None: they are.

    Each vector of a sample must be nearest to its own label's.
    """
    rows = spread(matrix.rows)
    texts = await asyncio.to_thread(_chosen, prompts, rows)
    made = await embed(texts)
    if made.shape[1] != matrix.dim:
        return f"they have {matrix.dim} numbers each, the model's {made.shape[1]}"
    theirs = await asyncio.to_thread(picked, matrix, rows)
    if not np.isfinite(theirs).all():
        return "they have numbers that aren't finite"
    cosines = unit(theirs) @ made.T
    own = np.diagonal(cosines)
    if (own < cosines.max(axis=1) - _TIE).any():
        return "they are nearer to other labels than to their own"
    if own.mean() < _LEAST_COSINE:
        return f"their cosine to the model's own is {own.mean():.2f}"
    return None


def spread(count: int) -> list[int]:
    """Up to eight indices below ``count``, ascending, from the first to the last."""
    return sorted({round(at) for at in np.linspace(0, count - 1, SAMPLES)})


def _chosen(prompts: Callable[[], Iterator[Sequence[str]]], rows: Sequence[int]) -> list[list[str]]:
    chosen: list[list[str]] = []
    at, made = 0, prompts()
    for row in rows:
        chosen += [list(one) for one in islice(made, row - at, row - at + 1)]
        at = row + 1
    return chosen
