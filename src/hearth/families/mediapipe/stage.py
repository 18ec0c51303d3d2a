"""One model behind its batch queue: a region of a frame in, what the model says of it out."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from hearth.backends import Array, Session
from hearth.batching import NO_CONTEXT, BatchQueue, RequestContext
from hearth.errors import ModelFailed
from hearth.families.mediapipe.frame import Frame
from hearth.families.mediapipe.region import Region, cut
from hearth.models.options import QueueOptions

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
Outputs = Sequence[Array]
"""A model's outputs for one region, in the model's own order, without a batch axis."""


class Input(NamedTuple):
    """Form in which a model wants to see a region."""

    width: int
    height: int
    low: float = 0.0
    """Value of black; that of white is ``high``."""
    high: float = 1.0
    zero_border: bool = False
    """Black beyond the picture, instead of its last pixels."""


class RegionView(NamedTuple, Generic[Asked]):
    """A region of a frame, and what is asked of it."""

    frame: Frame
    region: Region
    asked: Asked
    """Further argument of ``read``: a detector's least score, for one."""


Read = Callable[[Outputs, RegionView[Asked]], Answer]


class StageOf(Protocol):
    """Gives the stage of a model, by its file's name without the ending.

    Asked for twice it is the same one. What is to run ``alone`` has one interpreter.
    """

    def __call__(
        self, name: str, wants: Input, read: Read[Asked, Answer], *, alone: bool = False
    ) -> "Stage[Asked, Answer]": ...


class Stage(Generic[Asked, Answer]):
    """Runs one model; ``read(outputs, view)`` makes an answer of what it gives for a region.

    The session is opened when it is first needed, on the thread that runs it, as ``read`` is.
    As many regions run together as there are ``interpreters``, so a session that is a pool has
    them all at work. Where outputs aren't finite the answer is a ModelFailed.
    """

    def __init__(
        self,
        open_session: Callable[[], Session],
        *,
        name: str,
        wants: Input,
        read: Read[Asked, Answer],
        options: QueueOptions,
        interpreters: int = 1,
    ) -> None:
        self.name = name
        self.wants = wants
        self.session: Session | None = None
        """None until it was needed."""
        self._open = open_session
        self._read = read
        self.queue: BatchQueue[RegionView[Asked] | None, Any] = BatchQueue(
            self._run,
            name=name,
            max_batch=interpreters,
            capacity=options.capacity,
            # Rows run side by side, no faster for company: nothing is worth waiting for.
            max_delay=0,
        )

    async def look(
        self, frame: Frame, region: Region, asked: Asked, context: RequestContext = NO_CONTEXT
    ) -> Answer:
        """Run the model on a region; raises ModelFailed, and what a batch queue raises."""
        answer: Answer = await self.queue.submit(RegionView(frame, region, asked), context=context)
        return answer

    async def look_all(
        self,
        frame: Frame,
        regions: Sequence[tuple[Region, Asked]],
        context: RequestContext = NO_CONTEXT,
    ) -> list[Answer]:
        """Run the model on several regions, in order; they share batches, with others' as well."""
        if not regions:
            return []
        views = [(RegionView(frame, *each), None) for each in regions]
        return await self.queue.submit_all(views, context=context)

    async def try_out(self) -> None:
        """Run the model once, on nothing but black; raises as ``look`` does."""
        await self.queue.submit(None)

    def close(self) -> None:
        """End the queue and free the session."""
        self.queue.close()
        if self.session is not None:
            self.session.close()

    def _run(self, views: Sequence[RegionView[Asked] | None]) -> list[Answer | ModelFailed | None]:
        if self.session is None:
            self.session = self._open()
        session = self.session
        [wanted] = session.inputs
        outputs = session.run({wanted.name: self._batch(views)})
        arrays = [outputs[spec.name] for spec in session.outputs]
        return [self._answer(view, [array[row] for array in arrays])
                for row, view in enumerate(views)]  # fmt: skip

    def _batch(self, views: Sequence[RegionView[Asked] | None]) -> Array:
        """Cut out what the model is to see, float32 (n, height, width, 3)."""
        # Cut out here and not by the workers: it takes some 50 µs for a model's few pixels,
        # and each hop from thread to thread takes as long.
        wants = self.wants
        batch = np.empty((len(views), wants.height, wants.width, 3), np.float32)
        scale = np.float32((wants.high - wants.low) / 255)
        for row, view in zip(batch, views, strict=True):
            if view is None:
                row.fill(0)
                continue
            shown = cut(
                view.frame.pixels,
                view.region,
                wants.width,
                wants.height,
                zero_border=wants.zero_border,
            )
            np.multiply(shown, scale, out=row)
        if wants.low:
            batch += np.float32(wants.low)
        return batch

    def _answer(
        self, view: RegionView[Asked] | None, outputs: list[Any]
    ) -> Answer | ModelFailed | None:
        if not all(np.isfinite(output).all() for output in outputs):
            return ModelFailed(f"the model {self.name} gave numbers that aren't finite")
        return None if view is None else self._read(outputs, view)
