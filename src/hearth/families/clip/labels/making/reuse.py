"""Vectors that are there already: found, proved to be the model's, and mended."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hearth.blocking import run_blocking
from hearth.errors import one_line
from hearth.families.clip.labels.making.embedding import Blocks, PromptEmbedder
from hearth.families.clip.labels.making.label_store import LabelStore
from hearth.families.clip.labels.making.legacy import legacy_vectors
from hearth.families.clip.labels.making.proof import Proof, chosen
from hearth.families.clip.labels.matrices import HeldMatrix, Matrix
from hearth.families.clip.labels.sets.catalogue import Catalogue
from hearth.families.clip.labels.sets.source import LabelSource
from hearth.families.clip.labels.vectors import BLOCK, Dtype
from hearth.models.vectors import Vector, directed, unit

log = logging.getLogger(__name__)

_MOST_BAD = 0.01
"""The share of vectors without a direction that are made anew; with more of them, who knows
about the others."""


class Unfit(Exception):
    """The vectors are not to be used; says why."""


class LabelJob(NamedTuple):
    """One set to be made."""

    source: LabelSource
    catalogue: Catalogue
    dim: int | None
    """The length of the model's vectors, where it is known."""
    dtype: Dtype
    made: Callable[[int, int], None]
    """Callback that hears how many labels have their vectors, and of how many."""

    @property
    def total(self) -> int:
        """Number of labels."""
        return len(self.catalogue.labels)

    def unused(self, origin: str, why: object) -> None:
        """Tell that vectors are there and don't do."""
        log.warning("label vectors of %s (%s) are not used: %s", self.source.name, origin, why)


class Reusable(NamedTuple):
    """Vectors that are the model's; ``matrix`` is to be closed."""

    name: str
    matrix: Matrix
    blocks: Blocks
    """Blocks of them as unit vectors; raises Unfit, and what ``embed`` raises."""


async def reusable_vectors(
    job: LabelJob, store: LabelStore | None, prompts: PromptEmbedder
) -> AsyncGenerator[Reusable, None]:
    """Yield the vectors of a set that are there and the model's, the cheapest first."""
    proof = Proof(job.total, job.source.prompts, prompts.embed)
    for name, opened in _candidates(job, store):
        matrix = await _fitting(job, name, opened, proof)
        if matrix is not None:
            yield Reusable(name, matrix, _mended(job, name, matrix, prompts))


def _candidates(
    job: LabelJob, store: LabelStore | None
) -> Iterator[tuple[str, Callable[[], Matrix | None]]]:
    """Tell where there may be vectors already; None where there are none."""
    if store is not None:
        if job.dtype == "float16":
            yield "kept as float32", partial(_kept_as_float32, store, job)
        for path in store.older:
            yield f"seed: {path.name}", partial(legacy_vectors, path, job.total)
    yield "shipped", job.source.shipped


def _kept_as_float32(store: LabelStore, job: LabelJob) -> Matrix | None:
    cached = store.load(job.source, lambda _: "float32", job.dim)
    return None if cached is None else HeldMatrix(cached.vectors)


async def _fitting(
    job: LabelJob, name: str, opened: Callable[[], Matrix | None], proof: Proof
) -> Matrix | None:
    """Return the vectors of a candidate, where there are any and they are the model's."""
    try:
        matrix = await run_blocking(opened)
    except Exception as error:  # files may come from anywhere
        job.unused(name, one_line(error))
        return None
    if matrix is None:
        return None
    try:
        why = await _misfit(job, matrix, proof)
    except BaseException:
        matrix.close()
        raise
    if why is None:
        return matrix
    matrix.close()
    job.unused(name, why)
    return None


async def _misfit(job: LabelJob, matrix: Matrix, proof: Proof) -> str | None:
    if matrix.rows != job.total:
        return f"there are {matrix.rows} for {job.total} labels"
    return await proof.misfit(matrix)


def _mended(job: LabelJob, name: str, matrix: Matrix, prompts: PromptEmbedder) -> Blocks:
    """Return the unit vectors of a matrix; the few that have no direction are made anew."""

    async def blocks(start: int) -> AsyncIterator[Vector]:
        bad = 0
        texts, at = None, 0
        for begin in range(start, matrix.rows, BLOCK):
            vectors, wrong = await run_blocking(partial(_unit_block, matrix, begin))
            bad += len(wrong)
            if bad > _MOST_BAD * matrix.rows:
                raise Unfit(f"{bad} of the first {begin + len(vectors)} have no direction")
            if len(wrong):
                rows = [begin + int(row) for row in wrong]
                if texts is None:
                    texts = await run_blocking(job.source.prompts)
                labels = await run_blocking(partial(chosen, texts, rows, at))
                at = rows[-1] + 1
                vectors[wrong] = await prompts.embed(labels)
            yield vectors
        if bad:
            log.warning("%d label vectors of %s (%s) were damaged, and are made anew",
                        bad, job.source.name, name)  # fmt: skip

    return blocks


def _unit_block(matrix: Matrix, start: int) -> tuple[Vector, NDArray[np.intp]]:
    """Read some vectors at length 1, and tell which of them have no direction."""
    try:
        vectors = matrix.block(start, min(start + BLOCK, matrix.rows))
    except Exception as error:  # files may come from anywhere
        raise Unfit(one_line(error)) from error
    good = directed(vectors)
    if good.all():
        return unit(vectors), np.zeros(0, np.intp)
    return unit(np.where(good[:, None], vectors, 0)), np.flatnonzero(~good)
