"""Vectors of labels from their prompts, made through the model's own queue."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from typing import Protocol

import numpy as np

from hearth.batching import NO_CONTEXT, RequestContext
from hearth.blocking import run_blocking
from hearth.errors import ModelFailed, Overloaded
from hearth.families.clip.labels.limits import LONGEST_NAME
from hearth.families.clip.labels.sets.source import LabelSource
from hearth.models.vectors import Vector, unit

_BUSY_SECONDS = 1.0
"""Pause when clients have filled the queue."""

Blocks = Callable[[int], AsyncIterator[Vector]]
"""The unit vectors of a set in blocks, from a label on."""


class Embed(Protocol):
    """Texts to unit vectors, float32 (texts, dim), in order; raises what a batch queue raises."""

    def __call__(
        self, texts: Sequence[str], context: RequestContext = NO_CONTEXT, /
    ) -> Awaitable[Vector]: ...


class PromptEmbedder:
    """Embeds prompts a batch at a time, so that requests of clients come in between.

    ``batch`` says how many texts that is now.
    """

    def __init__(self, embed: Embed, batch: Callable[[], int]) -> None:
        self._embed_texts = embed
        self._batch = batch

    def blocks(self, source: LabelSource) -> Blocks:
        """Embed all labels of a source."""

        async def made(start: int) -> AsyncIterator[Vector]:
            prompts = await run_blocking(partial(source.prompts, start))
            while labels := await run_blocking(partial(_filling, prompts, self._size)):
                yield await self.embed(labels)

        return made

    async def embed(self, labels: Sequence[Sequence[str]]) -> Vector:
        """Make one unit vector for each label: the mean over its prompts, made a unit again."""
        texts = [text[:LONGEST_NAME] for prompts in labels for text in prompts]
        size = self._size
        parts = [
            await self._patiently(texts[start : start + size])
            for start in range(0, len(texts), size)
        ]
        starts = [0, *accumulate(map(len, labels))][:-1]
        vectors = unit(np.add.reduceat(np.concatenate(parts), starts, axis=0, dtype=np.float64))
        if not np.isfinite(vectors).all():
            raise ModelFailed("the text model gave numbers that aren't finite")
        return vectors

    @property
    def _size(self) -> int:
        return max(1, self._batch())

    async def _patiently(self, texts: Sequence[str]) -> Vector:
        """Embed, waiting for room where clients have filled the queue."""
        while True:
            try:
                return await self._embed_texts(texts)
            except Overloaded:
                await asyncio.sleep(_BUSY_SECONDS)


def _filling(prompts: Iterator[Sequence[str]], batch: int) -> list[Sequence[str]]:
    """Take the next labels, as many as it takes to fill a batch; reads and parses files."""
    labels: list[Sequence[str]] = []
    texts = 0
    while texts < batch and (label := next(prompts, None)) is not None:
        texts += len(label)
        labels.append(label)
    return labels
