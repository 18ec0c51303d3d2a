"""Answers that are pictures themselves are made in the threads that decode pictures."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from PIL import Image

from hearth.batching import NO_HURRY, BatchQueue, Ticket
from hearth.media import ImageReader
from hearth.models.heavy import lightly
from hearth.models.options import QueueOptions

T = TypeVar("T")


class Read(Protocol):
    """Reads an image file as ``ImageReader`` does, and raises what that raises."""

    def __call__(self, payload: bytes, *, at_least: int | None = None) -> Image.Image: ...


class Making:
    """A queue for work on whole pictures: masks at full size, effects, encoding.

    It takes turns, priorities, deadlines and cancels as the queues of models do, and no more
    of it runs at once than there are threads.
    """

    def __init__(self, name: str, reader: ImageReader, options: QueueOptions) -> None:
        self._reader = reader
        self._prepare = lightly(self._work)
        self.queue = BatchQueue[Any, Any](
            lambda results: results,
            name=name,
            max_batch=options.workers.threads,
            capacity=options.capacity,
            workers=options.workers,
            max_delay=0,
        )

    async def made(self, work: Callable[[Read], T], ticket: Ticket = NO_HURRY) -> T:
        """What ``work`` gives; what else it must read, it reads with its argument.

        It is begun anew where it comes upon a heavy image. Raises what it raises, and what a
        batch queue raises.
        """
        result: T = await self.queue.submit_raw(work, self._prepare, ticket=ticket)
        return result

    def close(self) -> None:
        """End the queue."""
        self.queue.close()

    def _work(self, work: Callable[[Read], Any], *, heavy: bool = True) -> Any:
        def read(payload: bytes, *, at_least: int | None = None) -> Image.Image:
            return self._reader.read(payload, at_least=at_least, heavy=heavy)

        return work(read)
