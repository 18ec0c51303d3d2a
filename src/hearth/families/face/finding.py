"""Pictures through detection: each once, however many ask for its faces."""

from collections.abc import Awaitable, Callable, Hashable
from contextlib import AsyncExitStack

from hearth.backends import Session
from hearth.batching import BatchQueue, QueueHandle, RequestContext
from hearth.families.face.faces import DetectedFace, Kept, Wanted
from hearth.families.face.preprocess import PICTURES_AHEAD, DetectionPreprocessor, Look
from hearth.families.face.scrfd import DetectedFaces, DetectionInput, FaceDetector
from hearth.media import ImagePayload, ImageReader
from hearth.models.media_work import exclusive_when_heavy
from hearth.models.options import QueueOptions
from hearth.models.single_flight import SingleFlightCache

_FACES_OF_A_VECTOR = 8
"""Boxes and landmarks that take as much memory as a vector."""


class Finder:
    """The queue of a detector over ``session``, and the faces found last.

    ``key`` tells a picture from others where results are kept. Methods raise InvalidInput
    for anything but a picture, ModelFailed, and what a batch queue raises.
    """

    def __init__(
        self, detector: FaceDetector, session: Session, reader: ImageReader, options: QueueOptions
    ) -> None:
        pictures = DetectionPreprocessor(detector.width, detector.height)
        self._prepare = exclusive_when_heavy(pictures.prepare, reader)
        self.queue: BatchQueue[DetectionInput, DetectedFaces] = BatchQueue(
            detector,
            name="face-detection",
            max_batch=session.batch_sizes.limit(options.first_batch),
            sizes=session.batch_sizes.fixed,
            capacity=options.capacity,
            workers=options.workers,
            ahead=PICTURES_AHEAD,
            max_delay=options.max_delay,
        )
        self.work: SingleFlightCache[tuple[DetectedFace, ...]] = SingleFlightCache(
            options.cache_entries, weigh=lambda faces: 1 + len(faces) // _FACES_OF_A_VECTOR
        )

    async def find(
        self, file: ImagePayload, key: Hashable, wanted: Wanted, context: RequestContext
    ) -> tuple[DetectedFace, ...]:
        """Find the faces of a picture that are wanted, the surest first."""
        handle = QueueHandle()

        async def look() -> tuple[DetectedFace, ...]:
            asked = Look(file, wanted, keep=False)
            detected = await self.queue.submit_raw(
                asked, self._prepare, context=context, handle=handle
            )
            return detected.faces

        return await self._once(key, wanted, look, handle, context)

    async def find_to_cut(
        self,
        file: ImagePayload,
        key: Hashable,
        wanted: Wanted,
        context: RequestContext,
        stack: AsyncExitStack,
    ) -> tuple[tuple[DetectedFace, ...], Kept | None]:
        """Find the faces, and the decoded picture, unless it is too large to be
        kept, or somebody else's look found the faces.

        ``stack`` holds the picture's place among those under way.
        """
        handle = QueueHandle()
        picture: Kept | None = None

        async def look() -> tuple[DetectedFace, ...]:
            nonlocal picture
            asked = Look(file, wanted, keep=True)
            place = self.queue.passing(asked, self._prepare, context=context, handle=handle)
            detected = await stack.enter_async_context(place)
            picture = detected.kept
            return detected.faces

        faces = await self._once(key, wanted, look, handle, context)
        return faces, picture

    async def _once(
        self,
        key: Hashable,
        wanted: Wanted,
        look: Callable[[], Awaitable[tuple[DetectedFace, ...]]],
        handle: QueueHandle,
        context: RequestContext,
    ) -> tuple[DetectedFace, ...]:
        faces = await self.work.get(
            (key, wanted.least, wanted.nms_threshold),
            look,
            handle=handle,
            inherit_priority=lambda other: self.queue.inherit_priority(other, context),
        )
        return wanted.choose(faces)
