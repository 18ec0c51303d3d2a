"""MediaPipe's models as one: faces, hands, bodies and who stands in front."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from hearth.backends import Session
from hearth.batching import NO_CONTEXT, BatchQueue, RequestContext
from hearth.families.mediapipe.backdrops import Backdrops
from hearth.families.mediapipe.faces import FaceFinder
from hearth.families.mediapipe.files import MODEL_ID
from hearth.families.mediapipe.frame import Frame
from hearth.families.mediapipe.hands import Hands
from hearth.families.mediapipe.holistic import Holistic
from hearth.families.mediapipe.iris import IrisTracker
from hearth.families.mediapipe.mesh import FaceMesh
from hearth.families.mediapipe.pose import PoseFinder
from hearth.families.mediapipe.selfie import Selfie
from hearth.families.mediapipe.stage import Answer, Asked, Input, Read, Stage
from hearth.media import IMAGE, ImagePayload, ImageReader, Picture, PixelForm
from hearth.models.media_work import MediaWork
from hearth.models.options import QueueOptions

_PROOF = "face_detection_short_range"
"""The smallest model, which shows that the engine works."""


class MediaPipeModel:
    """MediaPipe's models; satisfies ``models.model.Model``.

    ``open_session`` opens a model by its file's name without the ending; each is opened when
    it is first needed, or all in ``warm_up`` with ``keep_ready``. Its session runs as many
    regions at once as it has ``interpreters``.
    """

    service = "mediapipe"
    runtime = "litert"
    device = "cpu"
    precisions: tuple[str, ...] = ()
    """Precisions of the models that ran in ``warm_up``."""

    def __init__(
        self,
        open_session: Callable[[str], Session],
        *,
        reader: ImageReader,
        options: QueueOptions | None = None,
        interpreters: int = 1,
        keep_ready: bool = False,
        model_id: str = MODEL_ID,
    ) -> None:
        self.model_id = model_id
        self._open_session = open_session
        self._options = options or QueueOptions()
        self._interpreters = interpreters
        self._keep_ready = keep_ready
        self._reader = reader
        self._stages: dict[str, Stage[Any, Any]] = {}
        self._frames = MediaWork(
            "mediapipe-frames", reader, self._options, ahead=IMAGE.most_decoded
        )
        self.faces = FaceFinder(self._stage)
        self.mesh = FaceMesh(self.faces, self._stage)
        self.iris = IrisTracker(self.mesh, self._stage)
        self.hands = Hands(self._stage)
        self.pose = PoseFinder(self._stage)
        self.holistic = Holistic(self.pose, self.mesh, self.hands, self._stage)
        self.selfie = Selfie(self._stage)
        self.backdrops = Backdrops()
        self.making = MediaWork(
            "mediapipe-pictures", reader, self._options, ahead=IMAGE.most_decoded
        )

    @asynccontextmanager
    async def frame(
        self,
        file: ImagePayload,
        context: RequestContext = NO_CONTEXT,
        form: PixelForm = PixelForm.STORED,
    ) -> AsyncIterator[Frame]:
        """Give the decoded picture in a form, while it is worked on; bounds how many there are at
        once.

        Raises InvalidInput for anything but a picture, and what a batch queue raises.
        """
        picture = file if isinstance(file, Picture) else Picture(file)
        async with self._frames.decoded(picture, context, form):
            yield Frame(picture.decode(self._reader, form))

    @property
    def queues(self) -> tuple[BatchQueue[Any, Any], ...]:
        """Queues of decoded frames, of each model, and of pictures that are made."""
        stages = (stage.queue for stage in self._stages.values())
        return (self._frames.queue, *stages, self.making.queue)

    @property
    def metadata(self) -> Mapping[str, str]:
        """Names of the models that are loaded by now."""
        loaded = [stage.name for stage in self._stages.values() if stage.session is not None]
        return {"loaded": ", ".join(loaded)}

    async def warm_up(self) -> None:
        """Run one model, or with ``keep_ready`` every one; raises where one can't be run."""
        for stage in self._stages.values():
            if self._keep_ready or stage.name == _PROOF:
                await stage.try_out()
        loaded = [stage.session for stage in self._stages.values() if stage.session is not None]
        self.precisions = tuple(dict.fromkeys(session.precision for session in loaded))

    def close(self) -> None:
        """End the queues and free the sessions."""
        self._frames.close()
        self.making.close()
        for stage in self._stages.values():
            stage.close()

    def _stage(
        self, name: str, wants: Input, read: Read[Asked, Answer], *, alone: bool = False
    ) -> Stage[Asked, Answer]:
        if name not in self._stages:
            self._stages[name] = Stage(
                lambda: self._open_session(name),
                name=name,
                wants=wants,
                read=read,
                options=self._options,
                interpreters=1 if alone else self._interpreters,
            )
        return self._stages[name]
