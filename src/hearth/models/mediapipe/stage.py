"""One model behind its batch queue: a region of a frame in, what the model says of it out."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from hearth.backends import Array, Session
from hearth.batching import NO_HURRY, BatchQueue, Ticket
from hearth.errors import ModelFailed
from hearth.models.mediapipe.frame import Frame
from hearth.models.mediapipe.region import Region, cut
from hearth.models.options import QueueOptions

Answer = TypeVar("Answer")
Outputs = Sequence[Array]
"""A model's outputs for one region, in the model's own order, without a batch axis."""


class Input(NamedTuple):
    """How a model wants to see a region."""

    width: int
    height: int
    low: float = 0.0
    """What black is; what white is, is ``high``."""
    high: float = 1.0
    zero_border: bool = False
    """Black beyond the picture, instead of its last pixels."""


class Cut(NamedTuple):
    """A region of a frame."""

    frame: Frame
    region: Region
    asked: Any = None
    """What else ``read`` is to know: a detector's least score, for one."""


Read = Callable[[Outputs, Cut], Answer]
StageOf = Callable[[str, Input, Read[Any]], "Stage[Any]"]
"""Gives the stage of a model, by its file's name without the ending; asked for twice it is the
same one."""


class Stage(Generic[Answer]):
    """Runs one model; ``read(outputs, cut)`` makes an answer of what it gives for a region.

    The session is opened when it is first needed, on the thread that runs it. ``width``
    regions run together, so a session that is a pool has all its interpreters at work. Where
    outputs aren't finite the answer is a ModelFailed.
    """

    def __init__(
        self,
        open_session: Callable[[], Session],
        *,
        name: str,
        wants: Input,
        read: Callable[[Outputs, Cut], Answer],
        options: QueueOptions,
        width: int = 1,
    ) -> None:
        self.name = name
        self.wants = wants
        self.session: Session | None = None
        """None until it was needed."""
        self._open = open_session
        self._read = read
        self.queue: BatchQueue[Cut, Answer] = BatchQueue(
            self._run,
            name=name,
            max_batch=width,
            capacity=options.capacity,
            # Rows run side by side, no faster for company: nothing is worth waiting for.
            max_delay=0,
        )

    async def look(
        self, frame: Frame, region: Region, ticket: Ticket = NO_HURRY, *, asked: Any = None
    ) -> Answer:
        """What the model says of a region; raises ModelFailed, and what a batch queue raises."""
        return await self.queue.submit(Cut(frame, region, asked), ticket=ticket)

    async def look_all(
        self,
        frame: Frame,
        regions: Sequence[Region],
        ticket: Ticket = NO_HURRY,
        *,
        asked: Sequence[Any] | None = None,
    ) -> list[Answer]:
        """Of several regions, in order; they share batches, with others' as well.

        ``asked`` has one for each region.
        """
        if not regions:
            return []
        ones = [None] * len(regions) if asked is None else asked
        cuts = [Cut(frame, region, one) for region, one in zip(regions, ones, strict=True)]
        return await self.queue.submit_all([(each, None) for each in cuts], ticket=ticket)

    def close(self) -> None:
        """End the queue and free the session."""
        self.queue.close()
        if self.session is not None:
            self.session.close()

    def _run(self, cuts: Sequence[Cut]) -> list[Answer | ModelFailed]:
        if self.session is None:
            self.session = self._open()
        session = self.session
        [wanted] = session.inputs
        outputs = session.run({wanted.name: self._batch(cuts)})
        arrays = [outputs[spec.name] for spec in session.outputs]
        return [self._answer(asked, [array[row] for array in arrays])
                for row, asked in enumerate(cuts)]  # fmt: skip

    def _batch(self, cuts: Sequence[Cut]) -> Array:
        """What the model is to see, float32 (n, height, width, 3)."""
        # Cut out here and not by the workers: it takes some 50 µs for a model's few pixels,
        # and each hop from thread to thread takes as long.
        wants = self.wants
        batch = np.empty((len(cuts), wants.height, wants.width, 3), np.float32)
        scale = np.float32((wants.high - wants.low) / 255)
        for row, (frame, region, _) in zip(batch, cuts, strict=True):
            shown = cut(
                frame.pixels, region, wants.width, wants.height, zero_border=wants.zero_border
            )
            np.multiply(shown, scale, out=row)
        if wants.low:
            batch += np.float32(wants.low)
        return batch

    def _answer(self, asked: Cut, outputs: list[Any]) -> Answer | ModelFailed:
        if not all(np.isfinite(output).all() for output in outputs):
            return ModelFailed(f"the model {self.name} gave numbers that aren't finite")
        return self._read(outputs, asked)
