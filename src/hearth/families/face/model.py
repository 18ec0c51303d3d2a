"""The faces of a picture: where they are, and whose."""

from collections.abc import Hashable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hearth.backends import Session
from hearth.batching import NO_CONTEXT, BatchQueue, RequestContext
from hearth.errors import InvalidInput, ModelFailed, ModelUnavailable
from hearth.families.face import parameters as p
from hearth.families.face.alignment import alignable, outline
from hearth.families.face.arcface import FaceRecogniser
from hearth.families.face.faces import SURE, DetectedFace, Embedded, Kept, Landmarks, Vector, Wanted
from hearth.families.face.finding import Finder
from hearth.families.face.letterbox import letterbox
from hearth.families.face.preprocess import Cut
from hearth.families.face.recognition import Recognition
from hearth.families.face.scrfd import DetectionInput, FaceDetector
from hearth.media import ImagePayload, ImageReader
from hearth.models.options import QueueOptions
from hearth.models.sessions import fallback_of, tune_session
from hearth.models.single_flight import SharedStatistics, key_of
from hearth.plan import Plan, Step


@dataclass
class _Errand:
    """A picture whose faces are to be recognised, on its way through the steps."""

    model: "FaceModel"
    file: ImagePayload
    wanted: Wanted
    key: Hashable
    context: RequestContext
    stack: AsyncExitStack
    """Stack that holds the picture's place among those under way."""


class FaceModel:
    """A loaded pair of SCRFD and ArcFace; satisfies ``models.model.Model``.

    ``detection`` and ``recognition`` are sessions that take pixels: see ``scrfd.FaceDetector``
    and ``arcface.FaceRecogniser``. Owns the sessions. ``files`` are theirs, in that order.
    ``min_confidence`` is for requests that name none. Raises ModelUnavailable for other
    graphs.
    """

    service = "face"

    def __init__(
        self,
        *,
        model_id: str,
        detection: Session,
        recognition: Session,
        reader: ImageReader,
        min_confidence: float = p.MIN_CONFIDENCE,
        files: Sequence[Path] = (),
        options: QueueOptions | None = None,
    ) -> None:
        self.model_id = model_id
        self.min_confidence = min_confidence
        self._files = tuple(files)
        self._options = options or QueueOptions()
        self._sessions = (detection, recognition)
        self.runtime = detection.runtime
        self.device = detection.device
        self.precisions = tuple(dict.fromkeys(session.precision for session in self._sessions))
        detector, recogniser = FaceDetector(detection), FaceRecogniser(recognition)
        self._width, self._height = detector.width, detector.height
        self._finder = Finder(detector, detection, reader, self._options)
        self._recognition = Recognition(recogniser, recognition, reader, self._options)

    @property
    def queues(self) -> tuple[BatchQueue[Any, Any], ...]:
        """Detection in pictures, pictures to cut faces from, recognition of faces."""
        return (self._finder.queue, *self._recognition.queues)

    @property
    def fallback(self) -> str:
        """Reason why it doesn't run on the device asked for; empty where it does."""
        return fallback_of(*self._sessions)

    @property
    def cache_statistics(self) -> Mapping[str, SharedStatistics]:
        """Statistics of faces that were found, and recognised, once for several requests."""
        return {
            "face-detection": self._finder.work.statistics(),
            "face-recognition": self._recognition.work.statistics(),
        }

    @property
    def metadata(self) -> Mapping[str, str]:
        """Further facts about the model."""
        return {
            "provider": self._sessions[0].provider,
            "detection_size": f"{self._width}x{self._height}",
            "embedding_dim": str(p.DIM),
        }

    async def detect(
        self, file: ImagePayload, wanted: Wanted = SURE, context: RequestContext = NO_CONTEXT
    ) -> tuple[DetectedFace, ...]:
        """Find the faces of a picture that are wanted, the surest first; none is an empty tuple.

        Raises InvalidInput for anything but a picture, ModelFailed, and what a batch queue
        raises.
        """
        return await self._finder.find(file, await self._key(file), wanted, context)

    async def recognise(
        self, file: ImagePayload, wanted: Wanted = SURE, context: RequestContext = NO_CONTEXT
    ) -> list[Embedded]:
        """Recognise the faces of a picture that are wanted, with their vectors; raises as
        ``detect``.

        Where one of them can't be recognised the whole request fails, and no other does.
        """
        async with AsyncExitStack() as stack:
            errand = _Errand(self, file, wanted, await self._key(file), context, stack)
            answers = await _RECOGNITION.run(errand)
        embedded: list[Embedded] = answers["embedded"]
        return embedded

    async def embed(
        self,
        file: ImagePayload,
        faces: Sequence[Landmarks] | None,
        context: RequestContext = NO_CONTEXT,
    ) -> list[Embedded]:
        """Embed the faces with these landmarks in a picture, in order; raises as ``detect``.

        None: the picture is an aligned face itself; it is brought to 112×112 pixels where it
        has others. Confidences are 1, boxes what is seen of each face. InvalidInput for
        landmarks that don't lie like a face, and for an aligned face that isn't square.
        """
        if faces is not None and not alignable(faces):
            raise InvalidInput("landmarks that don't lie like those of a face can't be aligned")
        cut = Cut(file, None if faces is None else tuple(faces))
        async with AsyncExitStack() as stack:
            key = await self._key(file)
            vectors, size = await self._recognition.of_faces(cut, key, context, stack)
        if faces is None:
            return [Embedded(_aligned_face(size), vectors[0])]
        faces_given = [
            DetectedFace(outline(landmarks, size), 1.0, tuple(landmarks)) for landmarks in faces
        ]
        return [Embedded(face, vector) for face, vector in zip(faces_given, vectors, strict=True)]

    async def warm_up(self) -> None:
        """Try both models; how long batches take is known, or measured later.

        Raises ModelUnavailable where one of them doesn't give what it should.
        """
        noise = np.random.default_rng(0).integers(0, 256, (p.SIDE, p.SIDE, 3), np.uint8)
        view = DetectionInput(letterbox(noise, self._width, self._height), SURE)
        try:
            await self._finder.queue.submit(view)
            await self._recognition.queue.submit(noise)
        except ModelFailed as error:
            raise ModelUnavailable(f"{self.model_id} doesn't work: {error}") from error
        await self._tune(self._finder.queue, 0, view, view.seen.pixels.shape)
        await self._tune(self._recognition.queue, 1, noise, noise.shape)

    async def _tune(
        self, queue: BatchQueue[Any, Any], number: int, item: Any, shape: Sequence[int]
    ) -> None:
        await tune_session(
            queue,
            item,
            self._sessions[number],
            model_id=self.model_id,
            files=self._files[number : number + 1],
            shape=shape,
            options=self._options,
        )

    def close(self) -> None:
        """End the queues and free the sessions."""
        for queue in self.queues:
            queue.close()
        for session in self._sessions:
            session.close()

    async def _key(self, file: ImagePayload) -> Hashable:
        return await key_of(file) if self._options.cache_entries.value else None

    async def _find(self, errand: _Errand) -> tuple[tuple[DetectedFace, ...], Kept | None]:
        return await self._finder.find_to_cut(
            errand.file, errand.key, errand.wanted, errand.context, errand.stack
        )

    async def _vectors(
        self, errand: _Errand, found: tuple[tuple[DetectedFace, ...], Kept | None]
    ) -> tuple[Vector, ...]:
        faces, kept = found
        if not faces:
            return ()
        cut = Cut(errand.file, tuple(face.landmarks for face in faces), kept)
        known = await self._recognition.of_faces(cut, errand.key, errand.context, errand.stack)
        return known.vectors


async def _join(
    _: _Errand, found: tuple[tuple[DetectedFace, ...], Kept | None], vectors: tuple[Vector, ...]
) -> list[Embedded]:
    return [Embedded(face, vector) for face, vector in zip(found[0], vectors, strict=True)]


_RECOGNITION = Plan(
    (
        Step("found", lambda errand: errand.model._find(errand)),
        Step("vectors", lambda errand, found: errand.model._vectors(errand, found), ("found",)),
        Step("embedded", _join, ("found", "vectors")),
    )
)
"""Plan from a picture to its faces, and whose they are."""


def _aligned_face(size: tuple[int, int]) -> DetectedFace:
    """Return a picture that is an aligned face: its landmarks are where the template has them."""
    width, height = size
    points = np.array(p.TEMPLATE) * (width / p.SIDE, height / p.SIDE)
    landmarks = tuple(points.round(3).reshape(-1).tolist())
    return DetectedFace((0.0, 0.0, float(width), float(height)), 1.0, landmarks)
