"""CLIP: pictures and texts in one space of vectors."""

import asyncio
import logging
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hearth.backends import Array, Session
from hearth.batching import NO_HURRY, BatchQueue, Claim, Ticket
from hearth.errors import InvalidInput, ModelFailed, ModelUnavailable, NotReady, Overloaded
from hearth.media import ImageReader
from hearth.models.clip.labels import LabelCache, LabelSet
from hearth.models.clip.pictures import Pictures
from hearth.models.clip.tokenizer import Tokenizer
from hearth.models.clip.tower import Tower, Vector, unit
from hearth.models.clip.transform import ImageTransform
from hearth.models.heavy import lightly
from hearth.models.manager import Progress
from hearth.models.options import QueueOptions
from hearth.models.rows import Row
from hearth.models.shared import SharedStatistics, SharedWork, digest
from hearth.models.tuning import facts_of, tuned

TRAINED_SCALE = 100.0
"""Where CLIP's training clamps the logit scale, and where published models end up
(Radford et al. 2021, 2.5): for models whose files don't tell."""

LONGEST_TEXT = 65536
"""Characters in a text. A context is 77 tokens: more can't change a vector, but takes time."""

_LONG_TEXT = 2000
"""From this many characters on, texts are split into tokens outside the loop."""

_BUSY_SECONDS = 1.0
"""Pause of background work when clients have filled the queue."""

log = logging.getLogger(__name__)


class ClipModel:
    """A loaded CLIP; satisfies ``models.manager.Manager``.

    ``image`` and ``text`` are sessions with one input each: pictures, uint8 (n, height,
    width, 3) or normalised floats (n, 3, height, width), and token ids (n, context).
    Without ``text`` and its ``tokenizer`` the model embeds pictures only. ``logit_scale``
    is the factor itself (not its logarithm). ``labels`` are the label sets to classify
    with, ``cache`` is where their vectors are kept.
    ``files`` are the model's own: what was measured of it counts as long as they stay.
    Raises ModelUnavailable where the parts don't go together. Owns the sessions.
    """

    service = "clip"

    def __init__(
        self,
        *,
        model_id: str,
        image: Session,
        transform: ImageTransform,
        reader: ImageReader,
        text: Session | None = None,
        tokenizer: Tokenizer | None = None,
        logit_scale: float = TRAINED_SCALE,
        logit_bias: float | None = None,
        labels: Sequence[LabelSet] = (),
        cache: LabelCache | None = None,
        files: Sequence[Path] = (),
        options: QueueOptions | None = None,
    ) -> None:
        self.model_id = model_id
        self.transform = transform
        self.logit_scale = logit_scale
        self.logit_bias = logit_bias
        self.label_sets: Mapping[str, LabelSet] = {labels.name: labels for labels in labels}
        self._tokenizer = tokenizer
        self._cache = cache
        self._vectors: dict[str, Vector] = {}
        self._making: dict[str, int] = {}
        self._dim: int | None = None
        self._image = Tower(image, "image")
        self._text = Tower(text, "text") if text is not None and tokenizer is not None else None
        self._sessions = [session for session in (image, text) if session is not None]
        self._check_parts()
        self._pictures = Pictures(self._image, transform, reader)
        self._prepare = lightly(self._pictures.prepare)
        self.runtime = image.runtime
        self.device = image.device
        self.precisions = tuple(dict.fromkeys(s.precision for s in self._sessions))
        self._files = tuple(files)
        self._options = options or QueueOptions()
        self._images = self._queue(self._image, workers=self._options.workers)
        self._texts = self._queue(self._text) if self._text else None
        self._image_work: SharedWork[Vector] = SharedWork(self._options.cache_entries)
        self._text_work: SharedWork[Vector] = SharedWork(self._options.cache_entries)

    @property
    def queues(self) -> tuple[BatchQueue[Any, Any], ...]:
        """The queues of the image tower and, where there is one, the text tower."""
        return (self._images,) if self._texts is None else (self._images, self._texts)

    @property
    def shared(self) -> Mapping[str, SharedStatistics]:
        """What was computed once for several requests, by tower."""
        work = {"clip-image": self._image_work, "clip-text": self._text_work}
        return {name: shared.statistics() for name, shared in work.items()}

    @property
    def facts(self) -> Mapping[str, str]:
        """What is true of the model, for people and for capabilities."""
        session = self._image.session
        facts = {
            "image_size": f"{self.transform.width}x{self.transform.height}",
            "logit_scale": f"{self.logit_scale:.6g}",
            "provider": session.provider,
            "device": self.device,
        }
        if self.dim is not None:
            facts["embedding_dim"] = str(self.dim)
        if self._text is None:
            facts["text"] = "no text tower"
        elif context := self._text.shape[-1]:
            facts["context_length"] = str(context)
        for name, labels in self.label_sets.items():
            facts[f"labels.{name}"] = self._labels_missing(labels) or str(len(labels.labels))
        return facts

    @property
    def dim(self) -> int | None:
        """The length of a vector; None where the graphs don't tell and nothing was run yet."""
        return self._dim or self._image.dim or (self._text.dim if self._text else None)

    def prepare_image(self, payload: bytes) -> Row:
        """An image file as the image tower takes it; blocking. Raises InvalidInput."""
        return self._pictures.prepare(payload)

    async def embed_image(self, payload: bytes, ticket: Ticket = NO_HURRY) -> Vector:
        """The unit vector, float32 (dim,), of an image file; it is shared, and read-only.

        Raises InvalidInput for anything but a picture, ModelFailed, and what a batch
        queue raises.
        """

        claim = Claim()

        def embed() -> Awaitable[Vector]:
            return self._images.submit_raw(payload, self._prepare, ticket=ticket, claim=claim)

        if not self._options.cache_entries:
            return await embed()
        return await self._image_work.get(
            await digest(payload),
            embed,
            claim=claim,
            lend=lambda other: self._images.lend(other, ticket),
        )

    async def embed_text(self, text: str, ticket: Ticket = NO_HURRY) -> Vector:
        """The unit vector, float32 (dim,), of a text; it is shared, and read-only.

        The empty text has one too. Raises InvalidInput for a text over ``LONGEST_TEXT``,
        NotReady without a text tower, ModelFailed, and what a batch queue raises.
        """

        claim = Claim()

        async def embed() -> Vector:
            tokens = await self._tokens([text])
            return await self._text_queue().submit(tokens[0], ticket=ticket, claim=claim)

        if not self._options.cache_entries:
            return await embed()
        key = await digest(text.encode("utf-8", "surrogatepass"))
        return await self._text_work.get(
            key, embed, claim=claim, lend=lambda other: self._text_queue().lend(other, ticket)
        )

    async def embed_texts(self, texts: Sequence[str], ticket: Ticket = NO_HURRY) -> Vector:
        """The unit vectors, float32 (texts, dim), in order; raises as ``embed_text``."""
        tokens = await self._tokens(texts)
        items = [(row, None) for row in tokens]
        rows = await self._text_queue().submit_all(items, ticket=ticket)
        return np.stack(rows)

    def text_missing(self) -> str | None:
        """Why texts can't be embedded, or None."""
        return None if self._text is not None else f"{self.model_id} has no text tower here"

    def labels_missing(self, name: str) -> str | None:
        """Why nothing can be classified with a label set yet, or None."""
        labels = self.label_sets.get(name)
        return f"no label set {name!r}" if labels is None else self._labels_missing(labels)

    def classify(self, vector: Vector, name: str, count: int) -> list[tuple[str, float]]:
        """The likeliest labels of a set with their probabilities, the best first.

        ``vector`` is a picture's unit vector; no more than there are labels come back.
        Raises NotReady while the set has no vectors.
        """
        if (reason := self.labels_missing(name)) is not None:
            raise NotReady(reason)
        scores = self.scores(vector, self._vectors[name])
        best = np.argsort(-scores, kind="stable")[:count]
        labels = self.label_sets[name].labels
        return [(labels[index], float(scores[index])) for index in best]

    def scores(self, vector: Vector, labels: Vector) -> Vector:
        """Probabilities, float32 (labels,), of a unit vector (dim,) against (labels, dim).

        softmax(scale · labels · vector + bias) with the model's own scale and bias, as in
        zero-shot classification with CLIP (Radford et al. 2021, figure 3).
        """
        logits = self.logit_scale * (labels @ vector) + (self.logit_bias or 0.0)
        weights = np.exp(logits - logits.max())
        return np.asarray(weights / weights.sum(), np.float32)

    async def warm_up(self) -> None:
        """Embed a blank picture and a word, and learn how long batches take.

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
        facts = await asyncio.to_thread(
            facts_of,
            tower.session,
            model_id=self.model_id,
            files=self._files,
            item=(item.array if isinstance(item, Row) else item).shape,
        )
        await tuned(
            queue,
            item,
            cache=self._options.curves,
            key=queue.name,
            facts=facts,
            max_batch=self._options.max_batch,
        )
        return len(vector)

    def _queue(self, tower: Tower, **more: Any) -> BatchQueue[Any, Vector]:
        options = self._options
        return tower.queue(
            options.first_batch, options.capacity, max_delay=options.max_delay, **more
        )

    def load_derived(self) -> None:
        """Take the label vectors over from the cache, those that are there and right."""
        if self._cache is not None and self._text is not None:
            found = self._cache.load(self.label_sets.values())
            for name, vectors in found.items():
                if self._dim in (None, vectors.shape[1]):
                    self._vectors[name] = vectors

    async def derive(self, progress: Progress) -> None:
        """Make the vectors of the label sets that have none, the smallest set first."""
        if self._text is None:
            return
        todo = [labels for labels in self.label_sets.values() if labels.name not in self._vectors]
        for labels in sorted(todo, key=lambda labels: labels.prompt_count):
            self._vectors[labels.name] = await self._embed_labels(labels, progress)
            await self._save_labels()

    def close(self) -> None:
        """End the queues and free the sessions."""
        for queue in self.queues:
            queue.close()
        for session in self._sessions:
            session.close()

    async def _embed_labels(self, labels: LabelSet, progress: Progress) -> Vector:
        """One unit vector for each label: the mean over its prompts, made a unit again."""
        prompts = [prompt for prompts in labels.prompts for prompt in prompts]
        owners = [index for index, prompts in enumerate(labels.prompts) for _ in prompts]
        sums = None
        size = self._text_queue().max_batch
        for start in range(0, len(prompts), size):
            # One batch at a time, so that requests of clients come in between.
            vectors = await self._embed_patiently(prompts[start : start + size])
            if sums is None:
                sums = np.zeros((len(labels.labels), vectors.shape[1]))
            np.add.at(sums, owners[start : start + size], vectors)
            self._making[labels.name] = min(start + size, len(prompts))
            progress(f"{labels.name} label vectors", self._making[labels.name], len(prompts))
        if sums is None:
            raise ModelUnavailable(f"the label set {labels.name} is empty")
        return unit(sums)

    async def _embed_patiently(self, texts: Sequence[str]) -> Vector:
        """As ``embed_texts``, but where clients have filled the queue it waits for room."""
        while True:
            try:
                return await self.embed_texts(texts)
            except Overloaded:
                await asyncio.sleep(_BUSY_SECONDS)

    async def _save_labels(self) -> None:
        if self._cache is None:
            return
        try:
            await asyncio.to_thread(self._cache.save, self.label_sets, dict(self._vectors))
        except OSError as error:
            # They are here all the same, and made again at the next start.
            log.warning(
                "label vectors can't be kept in %s: %s", self._cache.vectors_path.parent, error
            )

    def _labels_missing(self, labels: LabelSet) -> str | None:
        if labels.name in self._vectors:
            return None
        if (reason := self.text_missing()) is not None:
            return reason
        done = self._making.get(labels.name, 0)
        return f"the label vectors are still being made ({100 * done // labels.prompt_count} %)"

    async def _tokens(self, texts: Sequence[str]) -> Array:
        if self._text is None or self._tokenizer is None:
            raise NotReady(self.text_missing() or "")
        longest = max(map(len, texts), default=0)
        if longest > LONGEST_TEXT:
            raise InvalidInput(f"the text has {longest} characters; at most {LONGEST_TEXT}")
        if sum(map(len, texts)) > _LONG_TEXT:
            tokens = await asyncio.to_thread(self._tokenizer, texts)
        else:
            tokens = self._tokenizer(texts)
        return tokens.astype(self._text.dtype, copy=False)

    def _text_queue(self) -> BatchQueue[Array, Vector]:
        if self._texts is None:
            raise NotReady(self.text_missing() or "")
        return self._texts

    def _check_parts(self) -> None:
        wanted = (3, self.transform.height, self.transform.width)
        if not self._image.takes(wanted):
            raise ModelUnavailable(
                f"{self.model_id}: the image graph takes {self._image.shown}, "
                f"but its preprocess config makes {self.transform.width}×{self.transform.height}"
            )
        if self._text and self._text.dim and self._image.dim not in (None, self._text.dim):
            raise ModelUnavailable(
                f"{self.model_id}: the image graph gives vectors of {self._image.dim} numbers, "
                f"the text graph of {self._text.dim}: they aren't of one model"
            )
