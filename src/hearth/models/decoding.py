"""Pictures that several steps look at: decoded ahead of them, and only so many at once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hearth.batching import NO_HURRY, BatchQueue, Ticket
from hearth.media import File, ImageReader, Picture
from hearth.models.heavy import lightly
from hearth.models.options import QueueOptions

PICTURES_AHEAD = 8
"""Decoded pictures under way, from their decoding until their answer; the others wait as files.
One of 12 megapixels takes 36 MB."""


class Decoding:
    """A queue for files on their way to be whole pictures; ``name`` is its name.

    It takes turns, priorities, deadlines and cancels as the queues of models do.
    """

    def __init__(self, name: str, reader: ImageReader, options: QueueOptions) -> None:
        self._reader = reader
        self._prepare = lightly(self._decoded)
        self.queue = BatchQueue[Picture, Picture](
            lambda pictures: pictures,
            name=name,
            max_batch=PICTURES_AHEAD,
            capacity=options.capacity,
            workers=options.workers,
            ahead=PICTURES_AHEAD,
            max_delay=0,
        )

    @asynccontextmanager
    async def decoded(self, file: File, ticket: Ticket = NO_HURRY) -> AsyncIterator[Picture]:
        """The picture, decoded; until the block ends it counts as one of those under way.

        Raises InvalidInput for anything but a picture, and what a batch queue raises.
        """
        if isinstance(file, Picture) and file.is_ready:
            file.pixels(self._reader)  # whether it can be read at all
            yield file
            return
        async with self.queue.passing(file, self._prepare, ticket=ticket) as picture:
            yield picture

    def close(self) -> None:
        """End the queue."""
        self.queue.close()

    def _decoded(self, file: File, *, heavy: bool = True) -> Picture:
        picture = file if isinstance(file, Picture) else Picture(file)
        picture.pixels(self._reader, heavy=heavy)
        return picture
