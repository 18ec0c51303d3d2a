"""Where the node's CLIP comes from: files named one by one, a folder, an export, or the hub."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from hearth.backends.registry import require_backend
from hearth.errors import SettingsError
from hearth.families.clip.labels.making.label_store import LabelStore
from hearth.families.clip.labels.sets.source import LabelSource
from hearth.families.clip.local_graphs import LocalGraphs
from hearth.families.clip.model import ClipModel
from hearth.families.clip.origins import (
    OnnxModel,
    OnnxPaths,
    Origin,
    export_folder,
)
from hearth.families.clip.parts import Parts
from hearth.families.clip.settings import ClipSettings
from hearth.families.clip.weights import OpenClipModel
from hearth.files import fingerprint
from hearth.hub.progress import Progress
from hearth.hub.reference import ModelReference, parse
from hearth.hub.store import HubStore
from hearth.media import ImageReader
from hearth.models.loader import DynamicBatchMaker, ModelDescription
from hearth.models.options import QueueOptions


class ClipLoader:
    """Makes the ClipModel of one service; satisfies ``models.loader.ModelLoader``.

    ``labels`` gives the label sets to classify with, the main one first, for a model id.
    ``make_dynamic`` frees the batch axis of downloaded graphs; None: they stay as they are.
    Raises SettingsError for a model that can't be meant.
    """

    def __init__(
        self,
        settings: ClipSettings,
        *,
        service: str = "clip",
        labels: Callable[[str], Sequence[LabelSource]] = lambda _: (),
        label_dtype: Literal["float32", "float16"] = "float32",
        hub: HubStore,
        data_dir: Path,
        reader: ImageReader,
        options: QueueOptions | None = None,
        make_dynamic: DynamicBatchMaker | None = None,
    ) -> None:
        self.service = service
        self._settings = settings
        self._labels = labels
        self._label_dtype = label_dtype
        self._data_dir = data_dir
        self._reader = reader
        options = options or QueueOptions()
        self._options = replace(options, max_batch=settings.max_batch_size or options.max_batch)
        self._origin = _origin(settings, hub, data_dir, service, make_dynamic)

    def describe(self) -> ModelDescription:
        """Tell what the settings name, and where it is; never touches the network."""
        return self._origin.describe(self._settings)

    def resolve(self) -> str:
        """Find the repository of the hub; raises ModelUnavailable where the model can't be had."""
        return self._origin.resolve()

    def is_local(self) -> bool:
        """Tell whether all files are here already; never touches the network.

        Raises BackendUnavailable where the engine isn't installed: nothing is worth
        downloading then.
        """
        require_backend(self._settings.backend)
        return self._origin.is_local()

    def download(self, progress: Progress) -> None:
        """Fetch what is missing; raises ModelUnavailable, BackendUnavailable."""
        require_backend(self._settings.backend)
        self._origin.download(progress)

    def download_data(self, progress: Progress) -> None:
        """Fetch the data of the labels; raises ModelUnavailable."""
        for labels in self._labels(parse(self._settings.model).model_id):
            labels.download(progress)

    def load(self) -> ClipModel:
        """Make the model of its local files; raises SetupError."""
        require_backend(self._settings.backend)
        parts = self._origin.load(self._settings)
        try:
            return ClipModel(
                parts,
                reader=self._reader,
                service=self.service,
                labels=self._labels(parts.model_id),
                store=self._store(parts),
                label_dtype=self._label_dtype,
                options=self._options,
            )
        except BaseException:
            parts.close()
            raise

    def reload(self, model: ClipModel) -> bool:
        """Have a model of an earlier loader classify with this one's labels."""
        return model.replace_labels(self._labels(model.model_id))

    def _store(self, parts: Parts) -> LabelStore:
        runtime = parts.image.runtime
        folder = ModelReference("open_clip", parts.model_id).folder_name
        made_from = {
            "model_id": parts.model_id,
            "runtime": runtime,
            "precision": parts.image.precision if parts.text is None else parts.text.precision,
            "files": fingerprint(parts.files),
        }
        home = self._data_dir / self.service
        # Where the seed's nodes kept theirs, before they had a folder for each runtime.
        seed = parts.model_id.replace(":", "_").replace("/", "-")
        older = (home / f"{seed}_imagenet_vectors.npz", home / "text_vectors.npz")
        return LabelStore(home / runtime / folder, made_from, older)


def _origin(
    settings: ClipSettings,
    hub: HubStore,
    data_dir: Path,
    service: str,
    make_dynamic: DynamicBatchMaker | None,
) -> Origin:
    if settings.backend == "onnxrt" and settings.onnx_image is not None:
        return OnnxPaths(settings.onnx_image, settings.onnx_text)
    if settings.backend == "onnxrt" and settings.onnx_text is not None:
        raise SettingsError(f"{service}.onnx_text needs {service}.onnx_image beside it")
    reference = parse(settings.model)
    if settings.backend == "torch":
        return OpenClipModel(reference, hub)
    if settings.backend != "onnxrt":
        return LocalGraphs(reference, settings.backend)
    export = export_folder(data_dir, reference)
    return OnnxModel(reference, hub, export, settings, service, make_dynamic=make_dynamic)
