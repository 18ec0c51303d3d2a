"""Where the node's CLIP comes from: files named one by one, a folder, an export, or the hub."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

from hearth.backends import require_backend
from hearth.errors import BackendUnavailable, ModelUnavailable, SettingsError
from hearth.hub.layout import Layout, files_in, layouts, select
from hearth.hub.reference import ModelReference, parse
from hearth.hub.store import HubStore
from hearth.media import ImageReader
from hearth.models.clip.labels import LabelCache, fingerprint, label_sets
from hearth.models.clip.model import TRAINED_SCALE, ClipModel
from hearth.models.clip.parts import Parts
from hearth.models.manager import Progress
from hearth.settings import ClipSettings


class Origin(Protocol):
    """Model files for one engine, wherever they are."""

    def is_local(self) -> bool:
        """Whether all files are here; never touches the network."""
        ...

    def download(self, progress: Progress) -> None:
        """Fetch what is missing; raises ModelUnavailable."""
        ...

    def load(self, settings: ClipSettings) -> Parts:
        """Make the sessions from local files; raises SetupError."""
        ...


class ClipSource:
    """Makes the node's ClipModel; satisfies ``models.manager.ModelSource``.

    ``batch_size`` is the largest batch where ``settings`` names none. Raises
    SettingsError for a model that the settings can't mean.
    """

    service = "clip"

    def __init__(
        self,
        settings: ClipSettings,
        *,
        hub: HubStore,
        data_dir: Path,
        reader: ImageReader,
        batch_size: int = 8,
        queue_capacity: int = 1024,
    ) -> None:
        self._settings = settings
        self._data_dir = data_dir
        self._reader = reader
        self._max_batch = settings.max_batch_size or batch_size
        self._capacity = queue_capacity
        if settings.onnx_text and not settings.onnx_image:
            raise SettingsError("clip.onnx_text needs clip.onnx_image beside it")
        self._origin = _origin(settings, hub, data_dir)

    def is_local(self) -> bool:
        """Whether all files are here already; never touches the network.

        Raises BackendUnavailable where the engine isn't installed: nothing is worth
        downloading then.
        """
        require_backend(self._settings.backend)
        return self._origin.is_local()

    def download(self, progress: Progress) -> None:
        """Fetch what is missing; raises ModelUnavailable."""
        self._origin.download(progress)

    def load(self) -> ClipModel:
        """The model from its local files; raises SetupError."""
        require_backend(self._settings.backend)
        labels = label_sets(self._settings.templates)
        parts = self._origin.load(self._settings)
        try:
            return ClipModel(
                model_id=parts.model_id,
                image=parts.image,
                text=parts.text,
                transform=parts.transform,
                tokenizer=parts.tokenizer,
                reader=self._reader,
                logit_scale=TRAINED_SCALE if parts.logit_scale is None else parts.logit_scale,
                logit_bias=parts.logit_bias,
                labels=labels,
                cache=self._cache(parts),
                max_batch=self._max_batch,
                queue_capacity=self._capacity,
            )
        except BaseException:
            parts.close()
            raise

    def _cache(self, parts: Parts) -> LabelCache:
        runtime = parts.image.runtime
        folder = ModelReference("open_clip", parts.model_id).folder_name
        return LabelCache(
            self._data_dir / "clip" / runtime / folder,
            {
                "model_id": parts.model_id,
                "runtime": runtime,
                "files": fingerprint(parts.files),
            },
        )


def _origin(settings: ClipSettings, hub: HubStore, data_dir: Path) -> Origin:
    if settings.backend == "onnxrt" and settings.onnx_image:
        return OnnxPaths(settings.onnx_image, settings.onnx_text)
    reference = parse(settings.model)
    if reference.folder is not None:
        return Folder(reference.folder, reference.model_id)
    if settings.backend == "torch":
        return OpenClipHub(reference, hub)
    export = export_folder(data_dir, reference)
    if export.is_dir():
        return Folder(export, reference.model_id)
    return OnnxHub(reference, hub)


def export_folder(data_dir: Path, reference: ModelReference) -> Path:
    """Where ``hearth models export`` puts a model, and where it is looked for."""
    return data_dir / "exports" / reference.folder_name


class OnnxPaths:
    """ONNX files that the user names one by one."""

    def __init__(self, image: Path, text: Path | None) -> None:
        self._image = image
        self._text = text

    def is_local(self) -> bool:
        return True

    def download(self, progress: Progress) -> None: ...

    def load(self, settings: ClipSettings) -> Parts:
        from hearth.models.clip.files import OnnxFiles

        return OnnxFiles.of_paths(self._image, self._text).load(settings)


class Folder:
    """A local folder in either layout."""

    def __init__(self, folder: Path, model_id: str) -> None:
        self._folder = folder
        self._model_id = model_id

    def is_local(self) -> bool:
        return True

    def download(self, progress: Progress) -> None: ...

    def load(self, settings: ClipSettings) -> Parts:
        files = files_in(self._folder)
        _require_layout(settings.backend, files, str(self._folder), str(self._folder))
        return _load_folder(self._folder, self._model_id, settings)


class OnnxHub:
    """A pair of ONNX graphs from the hub."""

    def __init__(self, reference: ModelReference, hub: HubStore) -> None:
        self._reference = reference
        self._hub = hub

    def is_local(self) -> bool:
        return self._find() is not None

    def download(self, progress: Progress) -> None:
        repository = self._choose()
        files = self._hub.files(repository)
        _require_layout("onnxrt", files, repository, self._reference.text)
        self._hub.download(repository, select(Layout.ONNX, files, repository), progress)

    def load(self, settings: ClipSettings) -> Parts:
        folder = self._find()
        if folder is None:
            raise ModelUnavailable(f"{self._reference.text} isn't downloaded")
        return _load_folder(folder, self._reference.model_id, settings)

    def _find(self) -> Path | None:
        for repository in self._reference.onnx_repositories():
            folder = _find(self._hub, repository, Layout.ONNX, "visual/model.onnx")
            if folder is not None:
                return folder
        return None

    def _choose(self) -> str:
        try:
            return self._hub.choose(self._reference.onnx_repositories())
        except ModelUnavailable as error:
            if self._reference.kind == "repository":
                raise
            raise ModelUnavailable(f"{error}; {_how_to_export(self._reference.text)}") from error


class OpenClipHub:
    """open_clip's weights from the hub, for torch."""

    def __init__(self, reference: ModelReference, hub: HubStore) -> None:
        self._reference = reference
        self._hub = hub

    def is_local(self) -> bool:
        if self._reference.repository is not None:
            return self._folder() is not None
        return self._weights() is not None and self._tokenizer_here()

    def download(self, progress: Progress) -> None:
        if self._reference.repository is not None:
            repository = self._reference.repository
            files = self._hub.files(repository)
            _require_layout("torch", files, repository, self._reference.text)
            self._hub.download(repository, select(Layout.OPEN_CLIP, files, repository), progress)
            return
        repository, names = self._published()
        files = self._hub.files(repository)
        name = next((name for name in names if name in files), names[-1])
        self._hub.download(repository, [name], progress)
        if (tokenizer := self._tokenizer_repository()) is not None:
            self._hub.download(tokenizer, _TOKENIZER_FILES, progress)

    def load(self, settings: ClipSettings) -> Parts:
        from hearth.models.clip import openclip

        return openclip.torch_parts(
            self.checkpoint(),
            self._reference.model_id,
            device=settings.device,
            require_device=settings.require_device,
        )

    def checkpoint(self) -> "openclip.Checkpoint":
        """The downloaded files; raises ModelUnavailable where they aren't here."""
        ...


_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
