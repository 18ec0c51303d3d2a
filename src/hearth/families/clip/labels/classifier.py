"""The label sets of one model: their vectors made, kept, and scored."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from hearth.batching import NO_CONTEXT, BatchQueue, Limit, RequestContext
from hearth.blocking import run_blocking
from hearth.errors import ModelUnavailable, NotReady, one_line
from hearth.families.clip.labels.index import LabelIndex, Query, Scored
from hearth.families.clip.labels.limits import LARGE
from hearth.families.clip.labels.making.builder import LabelBuilder
from hearth.families.clip.labels.making.embedding import Embed
from hearth.families.clip.labels.making.label_store import CachedLabels, LabelStore
from hearth.families.clip.labels.sets.catalogue import Catalogue
from hearth.families.clip.labels.sets.source import PROMPT, LabelSource
from hearth.families.clip.labels.vectors import Dtype
from hearth.hub.progress import Progress, Unit
from hearth.models.single_flight import SharedStatistics, SingleFlightCache, digest
from hearth.models.vectors import Vector

log = logging.getLogger(__name__)

_SCORED_AT_ONCE = 16
"""450,000 × 768: 8 queries take 1.8 times as long as one, 16 queries 2 times."""

_USUAL_BATCH = 16

Asked = tuple[LabelIndex, Query]


class Classifier:
    """Classifies vectors of pictures with label sets, and with labels that a request brings.

    ``embed`` makes unit vectors of texts through the model's queue. ``scale`` and ``bias``
    are the model's. ``store`` is where vectors are kept (None: nowhere). ``dtype`` is how
    those of large sets are kept. ``name`` names the queue that large sets are scored in, of
    ``capacity``. ``cache_entries`` vectors of labels that requests brought are kept.
    ``batch`` says how many texts the model takes at once now. For one loop at a time.
    """

    def __init__(
        self,
        sets: Sequence[LabelSource],
        *,
        embed: Embed,
        scale: float,
        bias: float | None = None,
        store: LabelStore | None = None,
        dtype: Dtype = "float32",
        name: str = "labels",
        capacity: int | Limit = 1024,
        cache_entries: int | Limit = 0,
        batch: Callable[[], int] = lambda: _USUAL_BATCH,
    ) -> None:
        self.sets: Mapping[str, LabelSource] = {source.name: source for source in sets}
        self._before = ""
        """Name of the main set before another one came; empty once that has vectors."""
        self._outdated: set[str] = set()
        """Names of sets whose vectors are those of other labels."""
        self._embed = embed
        self._batch = batch
        self._scale, self._bias = scale, bias
        self._store = store
        self._builder = LabelBuilder(store, embed, batch=batch, dtype=dtype)
        self._name = name
        self._indexes: dict[str, LabelIndex] = {}
        self._why_not: dict[str, str] = {}
        self._dim: int | None = None
        self._among: SingleFlightCache[Vector] = SingleFlightCache(cache_entries, weigh=len)
        self._capacity = capacity
        self._queue: BatchQueue[Asked, Scored] | None = None
        self._provide_queue()

    @property
    def queues(self) -> tuple[BatchQueue[Any, Any], ...]:
        """The queue that large sets are scored in, where there is such a set."""
        return () if self._queue is None else (self._queue,)

    @property
    def cache_statistics(self) -> Mapping[str, SharedStatistics]:
        """Statistics of work done once for several requests that brought the same labels."""
        return {self._name: self._among.statistics()}

    @property
    def metadata(self) -> Mapping[str, str]:
        """For each set how many labels it has, or why it isn't ready."""
        return {
            f"labels.{name}": self.missing(name) or str(len(self._indexes[name]))
            for name in self.sets
        }

    @property
    def main(self) -> str:
        """Name of the first set; while that has no vectors yet, of the one before it, if any."""
        return self._before or next(iter(self.sets), "")

    def replace(self, sets: Sequence[LabelSource]) -> bool:
        """Classify with other sets; tells whether there are some that need vectors now.

        Until these are made, answers are those of the labels before.
        """
        before, known = self.main, self.sets
        self.sets = {
            source.name: old
            if (old := known.get(source.name)) is not None and old.key == source.key
            else source
            for source in sets
        }
        changed = {name for name, source in self.sets.items() if source is not known.get(name)}
        self._outdated = (self._outdated | changed) & self.sets.keys()
        has_vectors = next(iter(self.sets), "") in self._indexes
        self._before = "" if has_vectors or before not in self._indexes else before
        for name in self._indexes.keys() - self.sets.keys() - {self._before}:
            del self._indexes[name]
        self._provide_queue()
        return bool(changed)

    def _provide_queue(self) -> None:
        large = any(source.count is None or source.count > LARGE for source in self.sets.values())
        if large and self._queue is None:
            self._queue = BatchQueue(
                _answers, name=self._name, max_batch=_SCORED_AT_ONCE, capacity=self._capacity
            )

    def missing(self, name: str) -> str | None:
        """Tell why nothing can be classified with a set yet, or None."""
        if name in self._indexes and (name in self.sets or name == self._before):
            return None
        if name not in self.sets:
            return f"no label set {name!r}"
        return self._why_not.get(name) or _still_made(0, 1)

    def has_ranks(self, name: str) -> bool:
        """Tell whether a set's answers can be asked by rank."""
        return name in self.sets and self.sets[name].ranked

    async def classify(
        self,
        vector: Vector,
        name: str,
        count: int,
        *,
        rank: str | None = None,
        context: RequestContext = NO_CONTEXT,
    ) -> Scored:
        """Find the likeliest labels of a set with their probabilities, the best first.

        ``vector`` is a picture's unit vector, float32 (dim,); no more than there are labels
        come back, and no more than ``MOST_ANSWERS``. With a ``rank`` (one of RANKS) it is
        the likeliest groups there, each with the probabilities of its labels together.
        Raises InvalidInput where the labels have no ranks, NotReady while the set has no
        vectors, and what a batch queue raises.
        """
        if (reason := self.missing(name)) is not None:
            raise NotReady(reason)
        index, query = self._indexes[name], Query(vector, count, rank)
        if self._queue is None or len(index) <= LARGE:
            return index.answers([query])[0]
        return await self._queue.submit((index, query), key=name, context=context)

    async def classify_among(
        self,
        vector: Vector,
        labels: Sequence[str],
        count: int,
        *,
        context: RequestContext = NO_CONTEXT,
    ) -> Scored:
        """Classify among labels that the caller brings ("a photo of a …"); raises as ``classify``.

        At least one, and each once: what reads the request sees to that, and to
        ``MOST_LABELS``. Raises what ``embed`` raises.
        """
        key = await digest(json.dumps(labels).encode())
        vectors = await self._among.get(key, lambda: self._vectors_of(labels, context))
        index = LabelIndex(vectors, Catalogue.of(labels), scale=self._scale, bias=self._bias)
        return index.answers([Query(vector, count)])[0]

    def load(self, dim: int | None) -> None:
        """Take over from the store what is there and right; blocking.

        ``dim`` is the length of the model's vectors, where that is known.
        """
        self._dim = dim
        if self._store is None:
            return
        for source in self._without_vectors():
            cached = self._store.load(source, self._builder.dtype_of, dim)
            if cached is not None:
                self._take(source, cached)

    async def derive_artifacts(self, progress: Progress) -> None:
        """Make the vectors of the sets that have none, the smallest set first.

        What stands in the way of one set doesn't keep the others from being made; the first
        error is raised at the end.
        """
        failure: Exception | None = None
        for source in sorted(self._without_vectors(), key=_size):
            try:
                await self._make(source, progress)
            except Exception as error:
                self._why_not[source.name] = _failed(error)
                failure = failure or error
        if failure is not None:
            raise failure

    def close(self) -> None:
        """End the queue, and let the files go."""
        for queue in self.queues:
            queue.close()
        self._indexes.clear()

    async def _make(self, source: LabelSource, progress: Progress) -> None:
        what = f"{source.name} label vectors"

        def made(done: int, total: int) -> None:
            self._why_not[source.name] = _still_made(done, total)
            progress(what, done, total)

        def downloaded(what: str, done: int, total: int | None, unit: Unit = "steps") -> None:
            self._why_not[source.name] = f"the labels are being downloaded ({what})"
            progress(what, done, total, unit)

        def waits() -> None:
            self._why_not[source.name] = "another process makes the label vectors"
            progress(f"{what}: another process makes them", 0, None)

        if not await run_blocking(source.is_local):
            await run_blocking(partial(source.download, downloaded))
        cached = await self._builder.make(source, self._dim, made=made, waits=waits)
        self._take(source, cached)

    def _without_vectors(self) -> list[LabelSource]:
        return [
            source
            for name, source in self.sets.items()
            if name not in self._indexes or name in self._outdated
        ]

    def _take(self, source: LabelSource, cached: CachedLabels) -> None:
        if self.sets.get(source.name) is not source:
            return  # other labels have taken its place meanwhile
        self._indexes[source.name] = LabelIndex(
            cached.vectors, cached.catalogue, scale=self._scale, bias=self._bias
        )
        self._outdated.discard(source.name)
        if self._before and source.name == next(iter(self.sets)):
            self._indexes.pop(self._before, None)
            self._before = ""

    async def _vectors_of(self, labels: Sequence[str], context: RequestContext) -> Vector:
        texts = [PROMPT.format(label) for label in labels]
        size = max(1, self._batch())
        parts = [
            await self._embed(texts[start : start + size], context)
            for start in range(0, len(texts), size)
        ]
        return np.concatenate(parts)


def _answers(asked: Sequence[Asked]) -> Sequence[Scored]:
    """Answer one batch, all of it for the same index."""
    return asked[0][0].answers([query for _, query in asked])


def _size(source: LabelSource) -> float:
    return float("inf") if source.count is None else source.count


def _failed(error: Exception) -> str:
    if isinstance(error, ModelUnavailable):
        return str(error)
    return f"the label vectors can't be made: {one_line(error)}"


def _still_made(done: int, total: int) -> str:
    return f"the label vectors are still being made ({100 * done // total} %)"
