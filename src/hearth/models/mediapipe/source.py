"""Where MediaPipe's models come from: its wheel, and what a user brings."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hearth.backends import Session, require_backend
from hearth.errors import ModelUnavailable
from hearth.machine import usable_cores
from hearth.media import ImageReader
from hearth.models.manager import Progress
from hearth.models.mediapipe import bundle, upkeep, wheel
from hearth.models.mediapipe.files import FOLDER, MODEL_ID, missing_in
from hearth.models.options import QueueOptions
from hearth.settings import MediapipeSettings

if TYPE_CHECKING:
    from hearth.models.mediapipe.model import MediaPipeModel

ENGINE = "litert"

MOST_INTERPRETERS = 4
"""Of a model, unless the settings say more: each takes memory of its own."""


class MediaPipeSource:
    """The source of the service ``mediapipe``; satisfies ``models.manager.ModelSource``."""

    service = "mediapipe"

    def __init__(
        self,
        settings: MediapipeSettings,
        *,
        data_dir: Path,
        offline: bool = False,
        reader: ImageReader,
        options: QueueOptions | None = None,
    ) -> None:
        """``offline`` forbids fetching; files that the settings name are taken all the same."""
        self._settings = settings
        self._folder = data_dir / FOLDER
        self._offline = offline
        self._reader = reader
        self._options = options or QueueOptions()

    def is_local(self) -> bool:
        """Whether all files are here, going by sizes.

        Raises BackendUnavailable where the engine isn't installed: nothing is worth
        fetching then.
        """
        require_backend(ENGINE)
        return not missing_in(self._folder)

    def download(self, progress: Progress) -> None:
        """Take the files out of MediaPipe's wheel; raises ModelUnavailable."""
        wheel.fetch(
            self._folder,
            wheel=self._settings.wheel,
            offline=self._offline,
            progress=progress,
        )

    pull = download

    def load(self) -> "MediaPipeModel":
        """The manager; raises BackendUnavailable, and ModelUnavailable for files that are wrong.

        A damaged file is taken away, so that the next download brings it anew.
        """
        require_backend(ENGINE)
        if problems := upkeep.verify(self._folder):
            raise ModelUnavailable(f"{wheel.NAME}: {problems[0]}")
        from hearth.backends.litert import LiteRtSession
        from hearth.backends.litert_pool import LiteRtPool
        from hearth.models.mediapipe.model import MediaPipeModel

        open_once = partial(LiteRtSession, batched=False)
        instead = bundle.chosen(self._folder, self._settings.bundles, open_once)
        width = self._settings.width or min(usable_cores(), MOST_INTERPRETERS)

        def open_session(name: str) -> Session:
            found = instead.get(name)
            path = self._folder / f"{name}.tflite" if found is None else found.path
            return LiteRtPool(path, width=width)

        return MediaPipeModel(
            open_session,
            reader=self._reader,
            options=self._options,
            width=width,
            keep_ready=self._settings.load == "ready",
            model_id="+".join([MODEL_ID, *sorted({own.bundle.stem for own in instead.values()})]),
        )
