"""Makes the vectors of a label set: takes over those that fit, or embeds the prompts."""

import asyncio
import errno
import logging
import shutil
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, closing, suppress
from functools import partial
from typing import NamedTuple

import numpy as np

from hearth.blocking import run_blocking
from hearth.errors import ModelFailed, ModelUnavailable
from hearth.families.clip.labels.limits import LARGE, MOST_HELD
from hearth.families.clip.labels.making.embedding import Blocks, Embed, PromptEmbedder
from hearth.families.clip.labels.making.label_store import CachedLabels, LabelStore
from hearth.families.clip.labels.making.resumable import ResumableVectors
from hearth.families.clip.labels.making.reuse import LabelJob, Unfit, reusable_vectors
from hearth.families.clip.labels.sets.source import LabelSource
from hearth.families.clip.labels.vectors import Dtype, Stored, stored

log = logging.getLogger(__name__)

_CHECKPOINT = 512
"""Labels after which what was embedded is safe on the disk: some 15 s of a CPU's work."""

_PATIENCE_SECONDS = 0.5

_FULL = (errno.ENOSPC, errno.EDQUOT)


class _NoRoomError(ModelUnavailable):
    """The disk is smaller than the vectors."""


class _Origin(NamedTuple):
    """Source that vectors come from."""

    name: str
    dim: int
    blocks: Blocks
    resumable: bool = False
    """Whether what is made is worth being gone on with."""


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
        """Choose how so many vectors are kept; small sets gain nothing from halves."""
        return self._dtype if count > LARGE else "float32"

    async def make(
        self,
        source: LabelSource,
        dim: int | None,
        *,
        made: Callable[[int, int], None],
        waits: Callable[[], None],
    ) -> CachedLabels:
        """Make the vectors of a set; ``made`` is told how many labels have theirs, and of how many.

        ``dim`` is the length of a vector, where that is known. ``waits`` is told when
        another process is at it. Where the disk can't take them they live in memory, up to
        ``MOST_HELD``.
        Raises ModelUnavailable, and what ``embed`` raises.
        """
        catalogue = await run_blocking(source.catalogue)
        job = LabelJob(source, catalogue, dim, self.dtype_of(len(catalogue.labels)), made)
        store = self._store
        if store is None:
            return await self._first_that_fits(job, partial(_in_memory, job))
        async with store.locked(source.name, waits):
            cached = await run_blocking(partial(store.load, source, self.dtype_of, dim))
            if cached is not None:
                return cached
            if job.total > LARGE:
                return await self._on_disk(store, job)
            cached = await self._first_that_fits(job, partial(_in_memory, job))
            try:
                return await run_blocking(partial(_save, store, source, cached))
            except OSError as error:
                # They are here all the same, and made again at the next start.
                log.warning("label vectors can't be kept in %s: %s", store.folder, error)
                return cached

    async def _on_disk(self, store: LabelStore, job: LabelJob) -> CachedLabels:
        try:
            return await self._first_that_fits(job, partial(_kept, store, job))
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
        self, job: LabelJob, use: Callable[[_Origin], Awaitable[CachedLabels]]
    ) -> CachedLabels:
        """Find vectors that are there already, the cheapest first; or new ones."""
        async with aclosing(reusable_vectors(job, self._store, self._prompts)) as candidates:
            async for candidate in candidates:
                with closing(candidate.matrix):
                    try:
                        cached = await use(
                            _Origin(candidate.name, candidate.matrix.dim, candidate.blocks)
                        )
                    except Unfit as why:
                        job.unused(candidate.name, why)
                    else:
                        log.info(
                            "the label vectors of %s were there: %s",
                            job.source.name,
                            candidate.name,
                        )
                        return cached
        first = await run_blocking(partial(_first_prompts, job.source))
        dim = (await self._prompts.embed([first])).shape[1]
        return await use(_Origin("computed", dim, self._prompts.blocks(job.source), resumable=True))


def _first_prompts(source: LabelSource) -> Sequence[str]:
    first = next(source.prompts(), None)
    if first is None:
        raise ModelUnavailable(f"the label set {source.name} is empty")
    return first


def _save(store: LabelStore, source: LabelSource, cached: CachedLabels) -> CachedLabels:
    rows, dim = cached.vectors.shape
    growing = store.grow(source, cached.origin, rows=rows, dim=dim, dtype="float32")
    try:
        growing.append(np.asarray(cached.vectors[growing.done :], np.float32))
        return store.keep(source, cached.catalogue, growing, cached.origin)
    except BaseException:
        growing.abandon()
        raise


def _require_space(store: LabelStore, source: LabelSource, growing: ResumableVectors) -> None:
    free = shutil.disk_usage(store.folder).free
    if growing.missing_bytes > free:
        raise _NoRoomError(
            f"no room for the label vectors of {source.name}: {growing.missing_bytes / 1e6:.1f} MB "
            f"needed, {free / 1e6:.1f} MB free in {store.folder}"
        )


async def _in_memory(job: LabelJob, origin: _Origin) -> CachedLabels:
    blocks: list[Stored] = []
    done = 0
    async for block in origin.blocks(0):
        blocks.append(stored(block, job.dtype))
        done += len(block)
        job.made(done, job.total)
    vectors = np.concatenate(blocks, dtype=job.dtype)
    return CachedLabels(vectors, job.catalogue, origin.name)


async def _kept(store: LabelStore, job: LabelJob, origin: _Origin) -> CachedLabels:
    try:
        return await _written(store, job, origin)
    except (OSError, _NoRoomError) as error:
        if job.total * origin.dim * np.dtype(job.dtype).itemsize > MOST_HELD:
            raise
        # As for small sets: made again at the next start.
        log.warning("label vectors can't be kept in %s: %s", store.folder, error)
        return await _in_memory(job, origin)


async def _written(store: LabelStore, job: LabelJob, origin: _Origin) -> CachedLabels:
    growing = await run_blocking(
        partial(store.grow, job.source, origin.name, rows=job.total, dim=origin.dim,
                dtype=job.dtype)
    )  # fmt: skip
    try:
        await run_blocking(partial(_require_space, store, job.source, growing))
        safe = growing.done
        job.made(safe, job.total)
        async for block in origin.blocks(safe):
            await run_blocking(partial(growing.append, block))
            job.made(growing.done, job.total)
            if origin.resumable and growing.done - safe >= _CHECKPOINT:
                await run_blocking(growing.checkpoint)
                safe = growing.done
        if growing.done != job.total:
            raise ModelFailed(f"{growing.done} vectors for {job.total} labels")
        return await run_blocking(
            partial(store.keep, job.source, job.catalogue, growing, origin.name)
        )
    except BaseException:
        # A node that stops doesn't wait for a disk that hangs: the next start cleans up.
        with suppress(OSError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await run_blocking(growing.abandon)
        raise
