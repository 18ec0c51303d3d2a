"""Work on whole pictures, done by the threads that decode pictures."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from hearth.batching import NO_CONTEXT, BatchQueue, Exclusive, QueueHandle, RequestContext
from hearth.media import File, HeavyImage, ImageReader, Picture, PixelForm
from hearth.models.options import QueueOptions

PICTURES_AHEAD = 8
"""Decoded pictures under way, from their decoding until their answer; the others wait as files.
One of 12 megapixels takes 36 MB, however many look at it."""

T = TypeVar("T")
Item = TypeVar("Item")
Payload = TypeVar("Payload")
Work = Callable[[ImageReader], T]
"""Work to be done with a picture. All that it reads, it reads with the argument: where that is a
heavy image, the work is begun anew in the thread for these."""


class PictureWork:
    """A queue for work on whole pictures: decoding and cutting, masks and effects, encoding.

    It takes turns, priorities, deadlines and cancels as the queues of models do, and no more
    of it runs at once than there are threads. ``ahead`` pictures are worked on, and held, at
    once. Methods raise what the work raises, and what a batch queue raises.
    """

    def __init__(
        self, name: str, reader: ImageReader, options: QueueOptions, *, ahead: int = PICTURES_AHEAD
    ) -> None:
        self._reader = reader
        self._prepare = exclusive_when_heavy(_work, reader)
        self.queue: BatchQueue[Any, Any] = BatchQueue(
            None,
            name=name,
            max_batch=ahead,
            capacity=options.capacity,
            workers=options.workers,
            ahead=ahead,
        )

    async def made(self, work: Work[T], context: RequestContext = NO_CONTEXT) -> T:
        """Do the work; return its result."""
        result: T = await self.queue.submit_raw(work, self._prepare, context=context)
        return result

    def held(
        self, work: Work[T], context: RequestContext = NO_CONTEXT, handle: QueueHandle | None = None
    ) -> AbstractAsyncContextManager[T]:
        """Do the work as ``made`` does; it counts as one of those under way for the block."""
        return self.queue.passing(work, self._prepare, context=context, handle=handle)

    @asynccontextmanager
    async def decoded(
        self, file: File, context: RequestContext = NO_CONTEXT, form: PixelForm = PixelForm.STORED
    ) -> AsyncIterator[Picture]:
        """Decode the picture in this form, and hold it until the block ends.

        Raises InvalidInput for anything but a picture.
        """
        picture = file if isinstance(file, Picture) else Picture(file)
        if picture.is_ready(form):
            picture.pixels(self._reader, form)  # whether it can be read at all
            yield picture
            return
        async with self.held(partial(picture.pixels, form=form), context):
            yield picture

    def inherit_priority(self, handle: QueueHandle, context: RequestContext) -> None:
        """Let an item inherit a more urgent priority, as ``BatchQueue.inherit_priority`` does."""
        self.queue.inherit_priority(handle, context)

    def close(self) -> None:
        """End the queue."""
        self.queue.close()


def _work(reader: ImageReader, work: Work[Any]) -> Any:
    return work(reader)


def exclusive_when_heavy(
    prepare: Callable[[ImageReader, Payload], Item], reader: ImageReader
) -> Callable[[Payload], Item]:
    """Make ``prepare`` fit for a batch queue: heavy pictures are decoded one at a time.

    Its threads leave them to the one for exclusive items, where ``prepare`` is begun anew. All
    that it reads, it reads with its first argument.
    """
    exclusive = partial(prepare, reader)

    def light(payload: Payload) -> Item:
        try:
            return prepare(reader.light, payload)
        except HeavyImage:
            raise Exclusive(exclusive) from None

    return light
