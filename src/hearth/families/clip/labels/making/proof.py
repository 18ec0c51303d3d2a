"""Whether vectors that others made are of this very model: a sample of them is made anew."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice

import numpy as np

from hearth.blocking import run_blocking
from hearth.errors import one_line
from hearth.families.clip.labels.matrices import Matrix, picked
from hearth.models.vectors import Vector, directed, unit

SAMPLES = 8

_LEAST_COSINE = 0.3
"""Mean cosine. Between unrelated directions it is 0 ± 0.04 at 512 numbers; the same label in other
words, as the vectors may have been made from, is well above."""

_TIE = 1e-5

EmbedLabels = Callable[[Sequence[Sequence[str]]], Awaitable[Vector]]
"""Callback that makes the vectors of labels from their prompts."""


class Proof:
    """A sample of a set's labels, made once for all vectors that may be theirs.

    ``prompts`` are those of all ``count`` labels, ``embed`` makes vectors of them.
    """

    def __init__(
        self, count: int, prompts: Callable[[], Iterator[Sequence[str]]], embed: EmbedLabels
    ) -> None:
        self._rows = spread(count)
        self._prompts = prompts
        self._embed = embed
        self._made: Vector | None = None

    async def misfit(self, matrix: Matrix) -> str | None:
        """Tell why the vectors, one for each label, aren't those of the model; None: they are.

        Each vector of the sample must be nearest to its own label's; single ones without a
        direction say nothing. Raises what ``embed`` raises.
        """
        made = await self._sample()
        if made.shape[1] != matrix.dim:
            return f"they have {matrix.dim} numbers each, the model's {made.shape[1]}"
        try:
            theirs = await run_blocking(partial(picked, matrix, self._rows))
        except Exception as error:  # files may come from anywhere
            return one_line(error)
        good = directed(theirs)
        if 2 * int(good.sum()) < len(good):
            return "they have no direction: numbers that aren't finite, or zeros alone"
        cosines = unit(theirs[good]) @ made.T
        own = cosines[np.arange(len(cosines)), np.flatnonzero(good)]
        if (own < cosines.max(axis=1) - _TIE).any():
            return "they are nearer to other labels than to their own"
        if own.mean() < _LEAST_COSINE:
            return f"their cosine to the model's own is {own.mean():.2f}"
        return None

    async def _sample(self) -> Vector:
        if self._made is None:
            texts = await run_blocking(lambda: chosen(self._prompts(), self._rows))
            self._made = await self._embed(texts)
        return self._made


def spread(count: int) -> list[int]:
    """Choose up to eight indices below ``count``, ascending, from the first to the last."""
    return sorted({round(at) for at in np.linspace(0, count - 1, SAMPLES)})


def chosen(
    prompts: Iterator[Sequence[str]], rows: Iterable[int], start: int = 0
) -> list[list[str]]:
    """Choose the prompts of single labels, ascending; ``start`` is the label that comes first."""
    samples: list[list[str]] = []
    for row in rows:
        samples += [list(one) for one in islice(prompts, row - start, row - start + 1)]
        start = row + 1
    return samples
