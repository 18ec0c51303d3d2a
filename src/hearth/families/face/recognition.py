"""Faces through recognition: those of all pictures under way in batches together."""

from collections.abc import Hashable
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

from hearth.backends import Session
from hearth.batching import BatchQueue, QueueHandle, RequestContext
from hearth.families.face import parameters as p
from hearth.families.face.arcface import FaceRecogniser
from hearth.families.face.faces import Vector
from hearth.families.face.preprocess import PICTURES_AHEAD, Cut
from hearth.media import ImageReader
from hearth.media.raw import Pixels
from hearth.models.media_work import MediaWork
from hearth.models.options import QueueOptions
from hearth.models.single_flight import SingleFlightCache

_FACES = 4 * PICTURES_AHEAD * p.MOST_FACES
"""Faces that may wait: all that can come of the pictures under way, in detection and in cutting.
A picture is refused before it is looked at, never afterwards."""


class Known(NamedTuple):
    """Faces that were recognised in a picture, as far as they are known."""

    vectors: tuple[Vector, ...]
    size: tuple[int, int]
    """Width and height of the picture."""


class Recognition:
    """The queue of a recogniser over ``session``, and the vectors computed last."""

    def __init__(
        self,
        recogniser: FaceRecogniser,
        session: Session,
        reader: ImageReader,
        options: QueueOptions,
    ) -> None:
        self._crops = MediaWork("face-crops", reader, options, ahead=PICTURES_AHEAD)
        self.queue: BatchQueue[Pixels, Vector] = BatchQueue(
            recogniser,
            name="face-recognition",
            max_batch=session.batch_sizes.limit(options.first_batch),
            sizes=session.batch_sizes.fixed,
            capacity=_FACES,
            # The faces of a picture come all at once, and none of them ever comes back: the
            # last round says nothing of who is about.
            max_delay=0,
        )
        self.work: SingleFlightCache[Known] = SingleFlightCache(
            options.cache_entries, weigh=lambda known: max(1, len(known.vectors))
        )

    @property
    def queues(self) -> tuple[BatchQueue[Any, Any], ...]:
        """Pictures to cut from, and faces."""
        return (self._crops.queue, self.queue)

    async def of_faces(
        self, cut: Cut, key: Hashable, context: RequestContext, stack: AsyncExitStack
    ) -> Known:
        """Give the vectors of faces of a picture, kept or computed now.

        ``key`` tells the picture from others; ``stack`` holds its place among those under way.
        Raises InvalidInput for anything but a picture, ModelFailed where one of the faces has
        no vector, and what a batch queue raises.
        """
        handle = QueueHandle()

        async def recognise() -> Known:
            crops = await stack.enter_async_context(self._crops.held(cut.crops, context, handle))
            items = [(face, None) for face in crops.faces]
            return Known(tuple(await self.queue.submit_all(items, context=context)), crops.size)

        return await self.work.get(
            (key, cut.faces),
            recognise,
            handle=handle,
            inherit_priority=lambda other: self._crops.inherit_priority(other, context),
        )
