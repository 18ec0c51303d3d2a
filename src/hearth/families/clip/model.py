"""CLIP: pictures and texts in one space of vectors."""

import asyncio
from collections.abc import Awaitable, Hashable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from hearth.backends import Array
from hearth.batching import NO_CONTEXT, BatchQueue, QueueHandle, RequestContext
from hearth.errors import InvalidInput, ModelFailed, ModelUnavailable, NotReady
from hearth.families.clip.labels.classifier import Classifier
from hearth.families.clip.labels.index import Scored
from hearth.families.clip.labels.making.label_store import LabelStore
from hearth.families.clip.labels.sets.source import LabelSource
from hearth.families.clip.parts import Parts
from hearth.families.clip.preprocess import SharedPicture, TowerPreprocessor
from hearth.families.clip.tensors import PreparedTensor, preprocessing_of
from hearth.families.clip.tower import Tower
from hearth.hub.progress import Progress
from hearth.media import ImagePayload, ImageReader
from hearth.models.media_work import exclusive_when_heavy
from hearth.models.options import QueueOptions
from hearth.models.rows import BatchRow
from hearth.models.sessions import fallback_of, tune_session
from hearth.models.single_flight import SharedStatistics, SingleFlightCache, digest, key_of
from hearth.models.vectors import Vector

TRAINED_SCALE = 100.0
"""Logit scale at which CLIP's training clamps it, and at which published models end up (Radford et
al. 2021, 2.5): for models whose files don't tell."""

LONGEST_TEXT = 65536
"""Characters in a text. A context is 77 tokens: more can't change a vector, but takes time."""

_LONG_TEXT = 2000
"""Number of characters from which on texts are split into tokens outside the loop."""


class ClipModel:
    """A loaded model of CLIP's family; satisfies ``models.model.Model``.

    It owns the sessions of ``parts``. ``service`` is what it is served as. ``labels`` are
    the label sets to classify with, the first of them unless another is asked for; their
    vectors are kept in ``store``, as ``label_dtype``. Raises ModelUnavailable where the
    parts don't go together.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        reader: ImageReader,
        service: str = "clip",
        labels: Sequence[LabelSource] = (),
        store: LabelStore | None = None,
        label_dtype: Literal["float32", "float16"] = "float32",
        options: QueueOptions | None = None,
    ) -> None:
        self._parts = parts
        self.service = service
        self.model_id = parts.model_id
        self.transform = parts.transform
        self.logit_scale = TRAINED_SCALE if parts.logit_scale is None else parts.logit_scale
        self._dim: int | None = None
        self._image = Tower(parts.image, "image", parts.floats)
        self._text = Tower(parts.text, "text") if parts.text and parts.tokenizer else None
        self._check_parts()
        self.preprocess_id = preprocessing_of(service, parts.transform, self._image.prepared)
        self.runtime = parts.image.runtime
        self.device = parts.image.device
        towers = [tower for tower in (self._image, self._text) if tower is not None]
        self.precisions = tuple(dict.fromkeys(tower.session.precision for tower in towers))
        self._reader = reader
        self._pictures = TowerPreprocessor(self._image, parts.transform)
        self._prepare = exclusive_when_heavy(self._pictures.prepare, reader)
        self._options = options or QueueOptions()
        self._images = self._queue(self._image, workers=self._options.workers)
        self._texts = self._queue(self._text) if self._text else None
        self._image_work: SingleFlightCache[Vector] = SingleFlightCache(self._options.cache_entries)
        self._text_work: SingleFlightCache[Vector] = SingleFlightCache(self._options.cache_entries)
        self._classifier = Classifier(
            labels,
            embed=self.embed_texts,
            batch=lambda: self._text_queue().max_batch,
            scale=self.logit_scale,
            bias=parts.logit_bias,
            store=store,
            dtype=label_dtype,
            name=f"{service}-labels",
            capacity=self._options.capacity,
            cache_entries=self._options.cache_entries,
        )

    @property
    def queues(self) -> tuple[BatchQueue[Any, Any], ...]:
        """The queues of the towers, and of label sets that are large."""
        return (*self._tower_queues(), *self._classifier.queues)

    @property
    def fallback(self) -> str:
        """Reason why it doesn't run on the device asked for; empty where it does."""
        return fallback_of(self._parts.image, self._parts.text)

    @property
    def cache_statistics(self) -> Mapping[str, SharedStatistics]:
        """Statistics of work done once for several requests, by tower."""
        work = {"image": self._image_work, "text": self._text_work}
        counts = {f"{self.service}-{name}": shared.statistics() for name, shared in work.items()}
        return {**counts, **self._classifier.cache_statistics}

    @property
    def metadata(self) -> Mapping[str, str]:
        """Facts about the model, for people and for capabilities."""
        session = self._image.session
        metadata = {
            "image_size": f"{self.transform.width}x{self.transform.height}",
            "logit_scale": f"{self.logit_scale:.6g}",
            "provider": session.provider,
            "device": self.device,
        }
        if self.dim is not None:
            metadata["embedding_dim"] = str(self.dim)
        if self._text is None:
            metadata["text"] = "no text tower"
        elif context := self._text.shape[-1]:
            metadata["context_length"] = str(context)
        return {**metadata, **self._classifier.metadata}

    @property
    def classes(self) -> str:
        """Name of the label set to classify with."""
        return self._classifier.main

    @property
    def dim(self) -> int | None:
        """The length of a vector; None where the graphs don't tell and nothing was run yet."""
        return self._dim or self._image.dim or (self._text.dim if self._text else None)

    def prepare_image(self, payload: bytes) -> BatchRow:
        """Prepare an image file as the image tower takes it; blocking. Raises InvalidInput."""
        return self._pictures.prepare(self._reader, payload)

    async def embed_image(
        self,
        picture: ImagePayload | SharedPicture | PreparedTensor,
        context: RequestContext = NO_CONTEXT,
    ) -> Vector:
        """Compute the unit vector, float32 (dim,), of an image file; it is shared, and read-only.

        Or of a picture that a client has prepared (see ``preprocess_id``). Raises
        InvalidInput for anything but a picture, ModelFailed, and what a batch queue raises.
        """

        handle = QueueHandle()

        def embed() -> Awaitable[Vector]:
            return self._images.submit_raw(picture, self._prepare, context=context, handle=handle)

        if not self._options.cache_entries.value:
            return await embed()
        return await self._image_work.get(
            await (key_of(picture) if isinstance(picture, bytes) else _key_of(picture)),
            embed,
            handle=handle,
            inherit_priority=lambda other: self._images.inherit_priority(other, context),
        )

    async def embed_text(self, text: str, context: RequestContext = NO_CONTEXT) -> Vector:
        """Compute the unit vector, float32 (dim,), of a text; it is shared, and read-only.

        The empty text has one too. Raises InvalidInput for a text over ``LONGEST_TEXT``,
        NotReady without a text tower, ModelFailed, and what a batch queue raises.
        """

        handle = QueueHandle()

        async def embed() -> Vector:
            tokens = await self._tokens([text])
            return await self._text_queue().submit(tokens[0], context=context, handle=handle)

        if not self._options.cache_entries.value:
            return await embed()
        key = await digest(text.encode("utf-8", "surrogatepass"))
        return await self._text_work.get(
            key,
            embed,
            handle=handle,
            inherit_priority=lambda other: self._text_queue().inherit_priority(other, context),
        )

    async def embed_texts(
        self, texts: Sequence[str], context: RequestContext = NO_CONTEXT
    ) -> Vector:
        """Compute the unit vectors, float32 (texts, dim), in order; raises as ``embed_text``."""
        tokens = await self._tokens(texts)
        items = [(row, None) for row in tokens]
        rows = await self._text_queue().submit_all(items, context=context)
        return np.stack(rows)

    def has_ranks(self, name: str) -> bool:
        """Tell whether a label set can be asked by rank."""
        return self._classifier.has_ranks(name)

    def text_missing(self) -> str | None:
        """Tell why texts can't be embedded, or None."""
        return None if self._text is not None else f"{self.model_id} has no text tower here"

    def labels_missing(self, name: str) -> str | None:
        """Tell why nothing can be classified with a label set yet, or None."""
        reason = self._classifier.missing(name)
        return reason if reason is None else self.text_missing() or reason

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

        ``vector`` is a picture's unit vector; no more than there are labels come back.
        With ``rank`` (one of ``RANKS``) these are names at that rank, each with what all
        labels below it come to together. Raises NotReady while the set has no vectors,
        InvalidInput where it has no ranks, and what a batch queue raises.
        """
        if (reason := self.labels_missing(name)) is not None:
            raise NotReady(reason)
        return await self._classifier.classify(vector, name, count, rank=rank, context=context)

    async def classify_among(
        self,
        vector: Vector,
        labels: Sequence[str],
        count: int,
        context: RequestContext = NO_CONTEXT,
    ) -> Scored:
        """Classify among the caller's own labels; raises as ``classify`` and ``embed_text``."""
        if (reason := self.text_missing()) is not None:
            raise NotReady(reason)
        return await self._classifier.classify_among(vector, labels, count, context=context)

    async def warm_up(self) -> None:
        """Embed a blank picture and a word; how long batches take is known, or measured later.

        Raises ModelUnavailable where that makes no vectors, or different ones.
        """
        try:
            dims = {await self._warm_up(self._images, self._image, self._pictures.blank())}
            if self._text is not None:
                [word] = await self._tokens(["a"])
                dims.add(await self._warm_up(self._text_queue(), self._text, word))
        except ModelFailed as error:
            raise ModelUnavailable(f"{self.model_id} doesn't work: {error}") from error
        if len(dims) > 1:
            raise ModelUnavailable(
                f"{self.model_id}: images and texts get vectors of different lengths {dims}"
            )
        self._dim = dims.pop()

    async def _warm_up(self, queue: BatchQueue[Any, Vector], tower: Tower, item: Any) -> int:
        """Try one tower; the length of its vectors."""
        vector = await queue.submit(item)
        await tune_session(
            queue,
            item,
            tower.session,
            model_id=self.model_id,
            files=self._parts.files,
            shape=(item.array if isinstance(item, BatchRow) else item).shape,
            options=self._options,
        )
        return len(vector)

    def _queue(self, tower: Tower, **more: Any) -> BatchQueue[Any, Vector]:
        options = self._options
        return tower.queue(
            self.service, options.first_batch, options.capacity, max_delay=options.max_delay, **more
        )

    def replace_labels(self, labels: Sequence[LabelSource]) -> bool:
        """Classify with other labels, once their vectors are made; tells whether some are to be."""
        return self._classifier.replace(labels)

    def load_artifacts(self) -> None:
        """Take the label vectors over from the cache, those that are there and right."""
        if self._text is not None:
            self._classifier.load(self._dim)

    async def derive_artifacts(self, progress: Progress) -> None:
        """Make the vectors of the label sets that have none, the smallest set first."""
        if self._text is not None:
            await self._classifier.derive_artifacts(progress)

    def close(self) -> None:
        """End the queues and free the sessions."""
        self._classifier.close()
        for queue in self._tower_queues():
            queue.close()
        self._parts.close()

    async def _tokens(self, texts: Sequence[str]) -> Array:
        if self._text is None or self._parts.tokenizer is None:
            raise NotReady(self.text_missing() or "")
        longest = max(map(len, texts), default=0)
        if longest > LONGEST_TEXT:
            raise InvalidInput(f"the text has {longest} characters; at most {LONGEST_TEXT}")
        if sum(map(len, texts)) > _LONG_TEXT:
            tokens = await asyncio.to_thread(self._parts.tokenizer, texts)
        else:
            tokens = self._parts.tokenizer(texts)
        return tokens.astype(self._text.dtype, copy=False)

    def _tower_queues(self) -> tuple[BatchQueue[Any, Any], ...]:
        return (self._images,) if self._texts is None else (self._images, self._texts)

    def _text_queue(self) -> BatchQueue[Array, Vector]:
        if self._texts is None:
            raise NotReady(self.text_missing() or "")
        return self._texts

    def _check_parts(self) -> None:
        shape = (3, self.transform.height, self.transform.width)
        if not self._image.takes(shape):
            raise ModelUnavailable(
                f"{self.model_id}: the image graph takes {self._image.shown}, "
                f"but its preprocess config makes {self.transform.width}×{self.transform.height}"
            )
        if self._text and self._text.dim and self._image.dim not in (None, self._text.dim):
            raise ModelUnavailable(
                f"{self.model_id}: the image graph gives vectors of {self._image.dim} numbers, "
                f"the text graph of {self._text.dim}: they aren't of one model"
            )


async def _key_of(picture: ImagePayload | SharedPicture | PreparedTensor) -> Hashable:
    if isinstance(picture, PreparedTensor):
        return (PreparedTensor, await digest(picture.payload))
    return await key_of(picture.file if isinstance(picture, SharedPicture) else picture)


def shared_picture(file: ImagePayload, *models: ClipModel) -> SharedPicture:
    """Make a picture that all these models are to embed, one after another."""
    return SharedPicture(file, [model.transform for model in models])
