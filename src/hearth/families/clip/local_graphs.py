"""A CLIP of the user's own, as graphs for an engine that the hub has no files for."""

from pathlib import Path

from hearth.backends.registry import BACKENDS
from hearth.errors import ModelUnavailable
from hearth.families.clip.files import GraphFiles
from hearth.families.clip.parts import Parts
from hearth.families.clip.settings import ClipSettings
from hearth.hub.progress import Progress
from hearth.hub.reference import ModelReference
from hearth.models.loader import ModelDescription


class LocalGraphs:
    """A local folder in the layout of ``files``, with graphs that end as the engine's do."""

    def __init__(self, reference: ModelReference, backend: str) -> None:
        self._reference = reference
        self._backend = backend

    def describe(self, settings: ClipSettings) -> ModelDescription:
        folder = self._reference.folder
        own = () if folder is None else (folder,)
        fault = "" if self._files() else self._fault()
        return ModelDescription(settings.model, settings.precision, own=own, fault=fault)

    def resolve(self) -> str:
        return ""

    def is_local(self) -> bool:
        return True

    def download(self, progress: Progress) -> None: ...

    def load(self, settings: ClipSettings) -> Parts:
        files = self._files()
        if files is None:
            raise ModelUnavailable(self._fault())
        return files.load(settings)

    def _files(self) -> GraphFiles | None:
        """Find the graphs of the first ending that there is an image tower of."""
        folder = self._reference.folder or Path()
        suffixes = BACKENDS[self._backend].suffixes if self._reference.folder else ()
        every = (GraphFiles.in_folder(folder, self._reference.model_id, end) for end in suffixes)
        return next((files for files in every if files.image.is_file()), None)

    def _fault(self) -> str:
        backend, folder = BACKENDS[self._backend], self._reference.folder
        if (reason := backend.unavailable()) is not None:
            return reason
        if folder is None:
            return f"{self._reference.text}: {self._backend} runs models of local folders alone"
        return f"{folder} holds no visual/model{' or '.join(backend.suffixes)} for {self._backend}"
