"""Makes the vectors of a label set: takes over those that fit, or embeds the prompts."""

import asyncio
import errno
import logging
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing
from functools import partial
from typing import NamedTuple

import numpy as np

from hearth.errors import ModelFailed, ModelUnavailable
from hearth.models.labels.catalogue import Catalogue
from hearth.models.labels.embedding import Blocks, Embed, PromptEmbedder
from hearth.models.labels.growing import GrowingVectors
from hearth.models.labels.index import LARGE
from hearth.models.labels.matrices import HeldMatrix, Matrix
from hearth.models.labels.proof import misfit
from hearth.models.labels.seed import seed_vectors
from hearth.models.labels.source import LabelSource
from hearth.models.labels.store import Kept, LabelStore
from hearth.models.labels.vectors import BLOCK, Dtype, Stored, Vector, stored

log = logging.getLogger(__name__)

_CHECKPOINT = 512
"""Labels after which what was embedded is safe on the disk: some 15 s of a CPU's work."""

_FULL = (errno.ENOSPC, errno.EDQUOT)


_Open = Callable[[], Matrix | None]
"""Gives vectors that may fit, None where there are none; raises OSError or ValueError."""


class _Origin(NamedTuple):
    """Where vectors come from."""

    name: str
    dim: int
    blocks: Blocks
    resumable: bool = False
    """Whether what is made is worth being gone on with."""


class _Job(NamedTuple):
    """One set to be made."""

    source: LabelSource
    catalogue: Catalogue
    dim: int | None
    dtype: Dtype
    made: Callable[[int, int], None]

    @property
    def total(self) -> int:
        """How many labels there are."""
        return len(self.catalogue.labels)


class LabelBuilder:
    """Makes label sets one at a time; what it takes of the model goes through ``embed``.

    ``batch`` says how many texts to ask for at once: one batch, so that requests of clients
    come in between.
    """

    def __init__(
        self, store: LabelStore | None, embed: Embed, *, batch: Callable[[], int], dtype: Dtype
    ) -> None:
        self._store = store
        self._prompts = PromptEmbedder(embed, batch)
        self._dtype = dtype

    def dtype_of(self, count: int) -> Dtype:
        """How so many vectors are kept; small sets gain nothing from halves."""
        return self._dtype if count > LARGE else "float32"

    async def make(
        self,
        source: LabelSource,
        dim: int | None,
        *,
        made: Callable[[int, int], None],
        waits: Callable[[], None],
    ) -> Kept:
        """The vectors of a set; ``made`` is told how many labels have theirs, and of how many.

        ``dim`` is the length of a vector, where that is known. ``waits`` is told when
        another process is at it. Sets that are small live in memory where the disk is full.
        Raises ModelUnavailable, and what ``embed`` raises.
        """
        catalogue = await asyncio.to_thread(source.catalogue)
        job = _Job(source, catalogue, dim, self.dtype_of(len(catalogue.labels)), made)
        store = self._store
        if store is None:
            return await self._first_that_fits(job, partial(_in_memory, job))
        async with store.turn(source.name, waits):
            kept = await asyncio.to_thread(store.load, source, self.dtype_of, dim)
            if kept is not None:
                return kept
            if job.total > LARGE:
                return await self._on_disk(store, job)
            kept = await self._first_that_fits(job, partial(_in_memory, job))
            try:
                return await asyncio.to_thread(_save, store, source, kept)
            except OSError as error:
                # They are here all the same, and made again at the next start.
                log.warning("label vectors can't be kept in %s: %s", store.folder, error)
                return kept

    async def _on_disk(self, store: LabelStore, job: "_Job") -> Kept:
        try:
            return await self._first_that_fits(job, partial(_written, store, job))
        except OSError as error:
            what = f"the label vectors of {job.source.name}"
            if error.errno in _FULL:
                raise ModelUnavailable(
                    f"no room for {what}: the disk of {store.folder} is full"
                ) from error
            raise ModelUnavailable(
                f"{what} can't be kept in {store.folder}: {error.strerror or error}"
            ) from error

    async def _first_that_fits(
        self, job: "_Job", use: Callable[["_Origin"], Awaitable[Kept]]
    ) -> Kept:
        """Vectors that are there already, the cheapest first; or new ones."""
        for name, opened in self._candidates(job):
            matrix = await self._fitting(job, name, opened)
            if matrix is None:
                continue
            with closing(matrix):
                try:
                    kept = await use(_Origin(name, matrix.dim, _converted(matrix)))
                except ValueError as error:
                    _unused(job, name, error)
                else:
                    log.info("the label vectors of %s were there: %s", job.source.name, name)
                    return kept
        first = next(job.source.prompts(), None)
        if first is None:
            raise ModelUnavailable(f"the label set {job.source.name} is empty")
        dim = (await self._prompts.embed([first])).shape[1]
        return await use(_Origin("computed", dim, self._prompts.blocks(job.source), resumable=True))

    def _candidates(self, job: "_Job") -> Iterator[tuple[str, "_Open"]]:
        """Where there may be vectors already."""
        source, catalogue, store = job.source, job.catalogue, self._store
        if store is not None:
            if job.dtype == "float16":
                yield "kept as float32", partial(_kept_as_float32, store, job)
            for path in store.older:
                yield f"seed: {path.name}", partial(seed_vectors, path, source, catalogue)
        yield "shipped", source.shipped

    async def _fitting(self, job: "_Job", name: str, opened: "_Open") -> Matrix | None:
        """The vectors of a candidate, where there are any and they are the model's."""
        try:
            matrix = await asyncio.to_thread(opened)
        except (OSError, ValueError) as error:
            _unused(job, name, error)
            return None
        if matrix is None:
            return None
        try:
            if matrix.rows != job.total:
                raise ValueError(f"there are {matrix.rows} for {job.total} labels")
            why = await misfit(matrix, job.source.prompts, self._prompts.embed)
            if why is not None:
                raise ValueError(why)
        except (OSError, ValueError) as error:
            matrix.close()
            _unused(job, name, error)
            return None
        except BaseException:
            matrix.close()
            raise
        return matrix


def _converted(matrix: Matrix) -> Blocks:
    async def blocks(start: int) -> AsyncIterator[Vector]:
        for at in range(start, matrix.rows, BLOCK):
            yield await asyncio.to_thread(_unit_block, matrix, at, min(at + BLOCK, matrix.rows))

    return blocks


def _unit_block(matrix: Matrix, start: int, end: int) -> Vector:
    vectors = matrix.block(start, end)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise ValueError(f"among the vectors {start} to {end} are some without a direction")
    return np.asarray(vectors / lengths, np.float32)


def _save(store: LabelStore, source: LabelSource, kept: Kept) -> Kept:
    rows, dim = kept.vectors.shape
    growing = store.grow(source, "computed", rows=rows, dim=dim, dtype="float32")
    try:
        growing.append(np.asarray(kept.vectors[growing.done :], np.float32))
        return store.keep(source, kept.catalogue, growing, "computed")
    except BaseException:
        growing.abandon()
        raise


def _require_space(store: LabelStore, source: LabelSource, growing: GrowingVectors) -> None:
    free = shutil.disk_usage(store.folder).free
    if growing.missing_bytes > free:
        raise ModelUnavailable(
            f"no room for the label vectors of {source.name}: {growing.missing_bytes / 1e6:.1f} MB "
            f"needed, {free / 1e6:.1f} MB free in {store.folder}"
        )


def _unused(job: _Job, origin: str, why: object) -> None:
    log.warning("label vectors of %s (%s) are not used: %s", job.source.name, origin, why)


def _kept_as_float32(store: LabelStore, job: _Job) -> Matrix | None:
    kept = store.load(job.source, lambda _: "float32", job.dim)
    return None if kept is None else HeldMatrix(kept.vectors)


async def _in_memory(job: _Job, origin: _Origin) -> Kept:
    blocks: list[Stored] = []
    done = 0
    async for block in origin.blocks(0):
        blocks.append(stored(block, job.dtype))
        done += len(block)
        job.made(done, job.total)
    vectors = np.concatenate(blocks, dtype=job.dtype)
    return Kept(vectors, job.catalogue)


async def _written(store: LabelStore, job: _Job, origin: _Origin) -> Kept:
    growing = await asyncio.to_thread(
        store.grow, job.source, origin.name, rows=job.total, dim=origin.dim, dtype=job.dtype
    )
    try:
        _require_space(store, job.source, growing)
        safe = growing.done
        job.made(safe, job.total)
        async for block in origin.blocks(safe):
            await asyncio.to_thread(growing.append, block)
            job.made(growing.done, job.total)
            if origin.resumable and growing.done - safe >= _CHECKPOINT:
                await asyncio.to_thread(growing.checkpoint)
                safe = growing.done
        if growing.done != job.total:
            raise ModelFailed(f"{growing.done} vectors for {job.total} labels")
        return await asyncio.to_thread(store.keep, job.source, job.catalogue, growing, origin.name)
    except BaseException:
        growing.abandon()
        raise
