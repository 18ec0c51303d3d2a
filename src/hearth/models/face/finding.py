"""Pictures through detection: each once, however many ask for its faces."""

from collections.abc import Awaitable, Callable, Hashable
from contextlib import AsyncExitStack

from hearth.backends import Session
from hearth.batching import BatchQueue, Claim, Ticket
from hearth.media import File, ImageReader
from hearth.models.face.faces import Face, Kept, Wanted
from hearth.models.face.pictures import PICTURES_AHEAD, Look, Pictures
from hearth.models.face.scrfd import Detector, Found, View
from hearth.models.heavy import lightly
from hearth.models.options import QueueOptions
from hearth.models.shared import SharedWork

_FACES_OF_A_VECTOR = 8
"""Boxes and landmarks that take as much memory as a vector."""


class Finder:
    """The queue of a detector over ``session``, and the faces found last.

    ``key`` tells a picture from others where results are kept. Methods raise InvalidInput
    for anything but a picture, ModelFailed, and what a batch queue raises.
    """

    def __init__(
        self, detector: Detector, session: Session, reader: ImageReader, options: QueueOptions
    ) -> None:
        pictures = Pictures(detector.width, detector.height)
        self._prepare = lightly(pictures.prepare, reader)
        self.queue: BatchQueue[View, Found] = BatchQueue(
            detector,
            name="face-detection",
            max_batch=session.batch_sizes.limit(options.first_batch),
            sizes=session.batch_sizes.fixed,
            capacity=options.capacity,
            workers=options.workers,
            ahead=PICTURES_AHEAD,
            max_delay=options.max_delay,
        )
        self.work: SharedWork[tuple[Face, ...]] = SharedWork(
            options.cache_entries, weigh=lambda faces: 1 + len(faces) // _FACES_OF_A_VECTOR
        )

    async def find(
        self, file: File, key: Hashable, wanted: Wanted, ticket: Ticket
    ) -> tuple[Face, ...]:
        """The faces of a picture that are wanted, the surest first."""
        claim = Claim()

        async def look() -> tuple[Face, ...]:
            asked = Look(file, wanted, keep=False)
            found = await self.queue.submit_raw(asked, self._prepare, ticket=ticket, claim=claim)
            return found.faces

        return await self._once(key, wanted, look, claim, ticket)

    async def find_to_cut(
        self, file: File, key: Hashable, wanted: Wanted, ticket: Ticket, stack: AsyncExitStack
    ) -> tuple[tuple[Face, ...], Kept | None]:
        """The same, and the decoded picture, unless it is too large to be kept, or somebody
        else's look found the faces.

        ``stack`` holds the picture's place among those under way.
        """
        claim = Claim()
        kept: Kept | None = None

        async def look() -> tuple[Face, ...]:
            nonlocal kept
            asked = Look(file, wanted, keep=True)
            place = self.queue.passing(asked, self._prepare, ticket=ticket, claim=claim)
            found = await stack.enter_async_context(place)
            kept = found.kept
            return found.faces

        faces = await self._once(key, wanted, look, claim, ticket)
        return faces, kept

    async def _once(
        self,
        key: Hashable,
        wanted: Wanted,
        look: Callable[[], Awaitable[tuple[Face, ...]]],
        claim: Claim,
        ticket: Ticket,
    ) -> tuple[Face, ...]:
        faces = await self.work.get(
            (key, wanted.least, wanted.nms_threshold),
            look,
            claim=claim,
            lend=lambda other: self.queue.lend(other, ticket),
        )
        return wanted.choose(faces)
