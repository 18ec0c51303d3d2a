"""Where the node's CLIP comes from: files named one by one, a folder, an export, or the hub."""

from dataclasses import replace
from pathlib import Path

from hearth.backends import require_backend
from hearth.errors import SettingsError
from hearth.files import fingerprint
from hearth.hub.reference import ModelReference, parse
from hearth.hub.store import HubStore
from hearth.media import ImageReader
from hearth.models.clip.labels import LabelCache, label_sets
from hearth.models.clip.model import TRAINED_SCALE, ClipModel
from hearth.models.clip.origins import (
    OnnxModel,
    OnnxPaths,
    OpenClipModel,
    Origin,
    export_folder,
)
from hearth.models.clip.parts import Parts
from hearth.models.manager import Progress
from hearth.models.options import QueueOptions
from hearth.settings import ClipSettings


class ClipSource:
    """Makes the node's ClipModel; satisfies ``models.manager.ModelSource``.

    Raises SettingsError for a model that can't be meant.
    """

    service = "clip"

    def __init__(
        self,
        settings: ClipSettings,
        *,
        hub: HubStore,
        data_dir: Path,
        reader: ImageReader,
        options: QueueOptions | None = None,
    ) -> None:
        self._settings = settings
        self._data_dir = data_dir
        self._reader = reader
        options = options or QueueOptions()
        self._options = replace(options, max_batch=settings.max_batch_size or options.max_batch)
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
                files=parts.files,
                options=self._options,
            )
        except BaseException:
            parts.close()
            raise

    def _cache(self, parts: Parts) -> LabelCache:
        runtime = parts.image.runtime
        folder = ModelReference("open_clip", parts.model_id).folder_name
        made_from = {
            "model_id": parts.model_id,
            "runtime": runtime,
            "precision": parts.image.precision if parts.text is None else parts.text.precision,
            "files": fingerprint(parts.files),
        }
        return LabelCache(self._data_dir / "clip" / runtime / folder, made_from)


def _origin(settings: ClipSettings, hub: HubStore, data_dir: Path) -> Origin:
    if settings.backend == "onnxrt" and settings.onnx_image is not None:
        return OnnxPaths(settings.onnx_image, settings.onnx_text)
    if settings.backend == "onnxrt" and settings.onnx_text is not None:
        raise SettingsError("clip.onnx_text needs clip.onnx_image beside it")
    reference = parse(settings.model)
    if settings.backend == "torch":
        return OpenClipModel(reference, hub)
    return OnnxModel(reference, hub, export_folder(data_dir, reference))
