"""Model files for one engine, wherever they are: local paths, folders, the hub."""

from pathlib import Path, PurePosixPath
from typing import Protocol

from hearth.backends.torch import choose_device
from hearth.errors import ModelUnavailable, SettingsError
from hearth.hub.layout import Layout, files_in, layouts, select
from hearth.hub.reference import ModelReference
from hearth.hub.store import HubStore, RepositoryMissing
from hearth.models.clip import openclip
from hearth.models.clip.files import IMAGE, OnnxFiles
from hearth.models.clip.folders import is_onnx
from hearth.models.clip.freeing import free_batch_copy
from hearth.models.clip.openclip import Checkpoint
from hearth.models.clip.parts import Parts
from hearth.models.clip.variants import choose, how_to_convert
from hearth.models.manager import Progress
from hearth.settings import ClipSettings

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


def export_folder(data_dir: Path, reference: ModelReference) -> Path:
    """Where ``hearth models export`` puts a model, and where the node looks for it."""
    return data_dir / "exports" / reference.folder_name


class Origin(Protocol):
    """Where a model comes from; methods block."""

    def is_local(self) -> bool:
        """Whether all files are here; never touches the network."""
        ...

    def download(self, progress: Progress) -> None:
        """Fetch what is missing; raises ModelUnavailable."""
        ...

    def load(self, settings: ClipSettings) -> Parts:
        """Make the sessions from local files; raises SetupError."""
        ...


class OnnxPaths:
    """ONNX files that the user names one by one."""

    def __init__(self, image: Path, text: Path | None) -> None:
        self._files = OnnxFiles.of_paths(image, text)

    def is_local(self) -> bool:
        return True

    def download(self, progress: Progress) -> None: ...

    def load(self, settings: ClipSettings) -> Parts:
        return self._files.load(settings)


class OnnxModel:
    """A pair of graphs: a local folder's, an export's, or the hub's.

    ``export`` is the place of the model's export in fp32; of its variants beside that the
    one is taken that ``settings`` want (``variants.choose``).
    """

    def __init__(
        self,
        reference: ModelReference,
        hub: HubStore,
        export: Path,
        settings: ClipSettings | None = None,
    ) -> None:
        self._reference = reference
        self._hub = hub
        self._export = export
        self._settings = settings or ClipSettings()

    def is_local(self) -> bool:
        # With a local folder there is nothing to wait for, right or wrong.
        return self._reference.folder is not None or self._chosen(self._settings) is not None

    def download(self, progress: Progress) -> None:
        if self._reference.folder is not None:
            return
        if self._chosen(self._settings) is None:
            self._fetch(progress)
        found = self._downloaded()
        if found is not None and not self._export.is_dir():
            # The hub's files are known by their hashes, and stay as they are.
            free_batch_copy(found, self._export, self._reference.model_id, progress)

    def load(self, settings: ClipSettings) -> Parts:
        folder = self._chosen(settings)
        if folder is None:
            folder = self._reference.folder
            if folder is None or is_onnx(folder):
                raise self._missing(settings)
            _require(Layout.ONNX, files_in(folder), folder, self._reference.text)
        return OnnxFiles.in_folder(folder, self._reference.model_id).load(settings)

    def graphs(self) -> Path | None:
        """The folder of the graphs as they came, where it is whole; None where it isn't here."""
        for place in (self._reference.folder, self._export):
            if place is not None and is_onnx(place):
                return place
        return self._downloaded()

    def _chosen(self, settings: ClipSettings) -> Path | None:
        graphs = self.graphs()
        if graphs is not None and graphs == self._reference.folder and settings.precision == "auto":
            return graphs  # what the user names is what the user means
        return choose(graphs, self._export, settings, self._reference.text)

    def _missing(self, settings: ClipSettings) -> ModelUnavailable:
        name, precision = self._reference.text, settings.precision
        if precision in ("auto", "fp32"):
            return ModelUnavailable(f"{name} isn't downloaded")
        return ModelUnavailable(
            f"{name} isn't here in {precision}: {how_to_convert(name, precision)}"
        )

    def _fetch(self, progress: Progress) -> None:
        if self._settings.precision not in ("auto", "fp32"):
            raise self._missing(self._settings)
        repository = self._choose()
        files = self._hub.files(repository)
        _require(Layout.ONNX, files, repository, self._reference.text)
        self._hub.download(repository, select(Layout.ONNX, files, repository), progress)

    def _downloaded(self) -> Path | None:
        for repository in self._reference.onnx_repositories():
            folder = _find(self._hub, repository, Layout.ONNX, IMAGE.as_posix())
            if folder is not None:
                return folder
        return None

    def _choose(self) -> str:
        try:
            return self._hub.choose(self._reference.onnx_repositories())
        except RepositoryMissing as error:
            if self._reference.kind == "repository":
                raise
            raise ModelUnavailable(f"{error}; {_how_to_export(self._reference.text)}") from error


class OpenClipModel:
    """open_clip's weights: a local folder's or the hub's."""

    def __init__(self, reference: ModelReference, hub: HubStore) -> None:
        self._reference = reference
        self._hub = hub

    def is_local(self) -> bool:
        return self._reference.folder is not None or self._find() is not None

    def download(self, progress: Progress) -> None:
        reference = self._reference
        if reference.repository is not None:
            files = self._hub.files(reference.repository)
            _require(Layout.OPEN_CLIP, files, reference.repository, reference.text)
            wanted = select(Layout.OPEN_CLIP, files, reference.repository)
            self._hub.download(reference.repository, wanted, progress)
        elif reference.architecture is not None:
            repository, names = self._published()
            files = self._hub.files(repository)
            name = next((name for name in names if name in files), names[-1])
            self._hub.download(repository, [name], progress)
        if (tokenizer := self._tokenizer_repository()) is not None:
            self._hub.download(tokenizer, _TOKENIZER_FILES, progress)

    def load(self, settings: ClipSettings) -> Parts:
        if settings.precision not in ("auto", "fp32"):
            raise SettingsError(
                f"torch computes in fp32: set precision = fp32, or backend = onnxrt for "
                f"{settings.precision}"
            )
        device = choose_device(settings.device, require_device=settings.require_device)
        checkpoint = self.checkpoint()
        model = openclip.load(checkpoint, device)
        return openclip.torch_parts(model, self._reference.model_id, device, (checkpoint.weights,))

    def checkpoint(self) -> Checkpoint:
        """What is here; raises ModelUnavailable where it isn't, or isn't whole."""
        if (found := self._find()) is not None:
            return found
        folder = self._reference.folder
        if folder is None:
            raise ModelUnavailable(f"{self._reference.text} isn't downloaded")
        _require(Layout.OPEN_CLIP, files_in(folder), folder, self._reference.text)
        return Checkpoint.in_folder(folder)

    def _find(self) -> Checkpoint | None:
        reference = self._reference
        if reference.architecture is not None:
            return self._find_published(reference.architecture, reference.tag or "")
        folder = reference.folder
        if reference.repository is not None:
            folder = _find(self._hub, reference.repository, Layout.OPEN_CLIP, openclip.CONFIG)
        if folder is None or Layout.OPEN_CLIP not in layouts(files_in(folder)):
            return None
        return Checkpoint.in_folder(folder)

    def _find_published(self, architecture: str, tag: str) -> Checkpoint | None:
        repository, names = self._published()
        for name in names:
            if (folder := self._hub.find(repository, [name])) is not None:
                break
        else:
            return None
        tokenizer = None
        if (wanted := self._tokenizer_repository()) is not None:
            tokenizer = self._hub.find(wanted, _TOKENIZER_FILES)
            if tokenizer is None:
                return None
        return Checkpoint.of_architecture(
            architecture,
            folder / name,
            pretrained=openclip.pretrained_entry(architecture, tag),
            tokenizer=tokenizer,
        )

    def _published(self) -> tuple[str, tuple[str, ...]]:
        """The repository of a tag's weights, and the names that they may have there."""
        entry = openclip.pretrained_entry(
            self._reference.architecture or "", self._reference.tag or ""
        )
        # ORG/NAME/FILE, or ORG/NAME/ for a repository in open_clip's own layout.
        path = PurePosixPath(entry["hf_hub"])
        repository = "/".join(path.parts[:2])
        return repository, path.parts[2:3] or openclip.WEIGHTS

    def _tokenizer_repository(self) -> str | None:
        """Where an architecture's tokenizer is, unless it is CLIP's own or comes along."""
        if self._reference.architecture is None:
            return None
        config = openclip.architecture_config(self._reference.architecture)
        return openclip.tokenizer_repository(config)


def _find(hub: HubStore, repository: str, layout: Layout, key: str) -> Path | None:
    """The repository's folder, where all of the layout's files are in it."""
    if hub.find(repository, [key]) is None:
        return None
    # The store has a record of the repository then: this asks nobody.
    files = hub.files(repository)
    return hub.find(repository, select(layout, files, repository))


def _require(layout: Layout, files: list[str], where: object, name: str) -> None:
    """Raise ModelUnavailable, with what to do, where the files aren't of this layout."""
    present = layouts(files)
    if layout in present:
        return
    if not present:
        select(layout, files, where)  # says which file is missing
    if layout is Layout.ONNX:
        raise ModelUnavailable(
            f"{where} holds open_clip weights, and no ONNX graphs: {_how_to_export(name)}"
        )
    raise ModelUnavailable(
        f"{where} holds ONNX graphs, and no open_clip weights: set the backend to onnxrt"
    )


def _how_to_export(name: str) -> str:
    return f"run `hearth models export {name}` (needs torch), or set the backend to torch"
