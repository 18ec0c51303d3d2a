"""Where MediaPipe's models come from: its wheel, and what a user brings."""

from pathlib import Path
from typing import TYPE_CHECKING

from hearth.backends import Session, SessionOptions
from hearth.backends.registry import require_backend
from hearth.errors import ModelUnavailable, NotReady
from hearth.families.mediapipe import bundle
from hearth.families.mediapipe.files import FOLDER, MODEL_ID, VERSION
from hearth.families.mediapipe.settings import MediapipeSettings
from hearth.families.mediapipe.wheel import NAME, WheelModels
from hearth.hub.progress import Progress
from hearth.hub.store import BARRED
from hearth.machine import usable_cores
from hearth.media import ImageReader
from hearth.models.loader import ModelDescription, first_missing
from hearth.models.options import QueueOptions

if TYPE_CHECKING:
    from hearth.families.mediapipe.model import MediaPipeModel

ENGINE = "litert"

MOST_INTERPRETERS = 4
"""Largest number of interpreters of a model, unless the settings say more: each takes memory of its
own."""


class MediaPipeLoader:
    """The source of the service ``mediapipe``; satisfies ``models.loader.ModelLoader``."""

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
        self._files = WheelModels(self._folder)
        self._offline = offline
        self._reader = reader
        self._options = options or QueueOptions()

    def describe(self) -> ModelDescription:
        """Tell of the files of the wheel, and the user's bundles; never touches the network."""
        own, named = self._settings.bundles, self._settings.wheel
        # Where all models are here, nobody asks for the wheel any more.
        needed = (*own,) if named is None or self._files.is_here() else (*own, named)
        return ModelDescription(
            MODEL_ID,
            folders=() if self._files.condition() is None else (self._folder,),
            own=(*own, *bundle.bundles_in(self._folder)),
            origin=str(named or f"a wheel of mediapipe {VERSION}, fetched with pip"),
            fault=first_missing(*needed),
            barred=BARRED if named is None and self._offline else "",
        )

    def resolve(self) -> str:
        """Name the wheel; pip alone knows if it can be had. Raises ModelUnavailable offline."""
        description = self.describe()
        if description.barred:
            raise ModelUnavailable(description.barred)
        return description.origin

    def is_local(self) -> bool:
        """Tell whether all files are here, going by sizes.

        Raises BackendUnavailable where the engine isn't installed: nothing is worth
        fetching then.
        """
        require_backend(ENGINE)
        return self._files.is_here()

    def download(self, progress: Progress) -> None:
        """Take the files out of MediaPipe's wheel; raises ModelUnavailable."""
        self._files.fetch(wheel=self._settings.wheel, offline=self._offline, progress=progress)

    def load(self) -> "MediaPipeModel":
        """Make the model; raises BackendUnavailable, and ModelUnavailable for files that are wrong.

        A damaged file is taken away, so that the next download brings it anew.
        """
        engine = require_backend(ENGINE)
        if problems := self._files.verify():
            raise ModelUnavailable(f"{NAME}: {problems[0]}")
        from hearth.families.mediapipe.model import MediaPipeModel

        once = SessionOptions(parallel_rows=1)
        instead = bundle.chosen(
            self._folder, self._settings.bundles, lambda path: engine.open(path, once)
        )
        interpreters = self._settings.interpreters or min(usable_cores(), MOST_INTERPRETERS)

        def open_session(name: str) -> Session:
            replacement = instead.get(name)
            path = self._folder / f"{name}.tflite" if replacement is None else replacement.path
            if not path.is_file():
                # It was there when the node began: somebody took it away since.
                raise NotReady(f"{NAME}: no such file any more: {path}; {_cure(path, replacement)}")
            return engine.open(path, SessionOptions(parallel_rows=interpreters))

        return MediaPipeModel(
            open_session,
            reader=self._reader,
            options=self._options,
            interpreters=interpreters,
            keep_ready=self._settings.load == "ready",
            model_id="+".join([MODEL_ID, *sorted({own.bundle.stem for own in instead.values()})]),
        )


def _cure(path: Path, replacement: bundle.Replacement | None) -> str:
    """Say how to bring back a file that was there when the node began."""
    if replacement is None:
        return "`hearth models pull mediapipe` brings it back"
    if path == replacement.bundle:
        return "put it back, or start the node again without it"
    return f"the next start takes it out of {replacement.bundle} again"
