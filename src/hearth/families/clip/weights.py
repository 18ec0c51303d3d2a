"""open_clip's weights of a model, wherever they are: local folders, the hub."""

from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from hearth.backends.registry import require_backend
from hearth.errors import ModelUnavailable, SettingsError
from hearth.families.clip import openclip
from hearth.families.clip.openclip import Checkpoint
from hearth.families.clip.parts import Parts
from hearth.families.clip.settings import ClipSettings
from hearth.hub.layout import ModelLayout, files_in, lacking, layouts, select
from hearth.hub.progress import Progress
from hearth.hub.reference import ModelReference
from hearth.hub.store import BARRED, HubStore
from hearth.models.loader import ModelDescription
from hearth.models.sessions import session_options

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


class OpenClipModel:
    """open_clip's weights: a local folder's or the hub's."""

    def __init__(self, reference: ModelReference, hub: HubStore) -> None:
        self._reference = reference
        self._hub = hub

    def describe(self, settings: ClipSettings) -> ModelDescription:
        folder, repository = self._reference.folder, self._reference.repository
        if folder is not None:
            return ModelDescription(
                settings.model, own=(folder,), fault=fault_in(folder, ModelLayout.OPEN_CLIP)
            )
        return ModelDescription(
            settings.model,
            folders=stored(self._hub, [repository] if repository else []),
            # open_clip knows the repository of ARCH:TAG; asking it would import torch.
            origin=repository or "open_clip's weights on the hub",
            barred=BARRED if self._hub.offline else "",
        )

    def resolve(self) -> str:
        if self._hub.offline:
            raise ModelUnavailable(BARRED)
        repository = self._reference.repository
        if repository is None:
            return ""
        require_layout(ModelLayout.OPEN_CLIP, self._hub.files(repository), repository, _graphs)
        return repository

    def is_local(self) -> bool:
        return self._reference.folder is not None or self._find() is not None

    def download(self, progress: Progress) -> None:
        reference = self._reference
        if reference.repository is not None:
            files = self._hub.files(reference.repository)
            require_layout(ModelLayout.OPEN_CLIP, files, reference.repository, _graphs)
            requested = select(ModelLayout.OPEN_CLIP, files, reference.repository)
            self._hub.download(reference.repository, requested, progress)
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
        options = session_options(settings)
        placement = require_backend("torch").settle(options)
        if not options.names_device:
            placement = placement._replace(fallback="")
        checkpoint = self.checkpoint()
        model = openclip.load(checkpoint, placement.device)
        files = (checkpoint.weights,)
        return openclip.torch_parts(model, self._reference.model_id, placement, files)

    def checkpoint(self) -> Checkpoint:
        """Find the weights that are here; raises ModelUnavailable where they aren't whole."""
        if (checkpoint := self._find()) is not None:
            return checkpoint
        folder = self._reference.folder
        if folder is None:
            raise ModelUnavailable(f"{self._reference.text} isn't downloaded")
        require_layout(ModelLayout.OPEN_CLIP, files_in(folder), folder, _graphs)
        return Checkpoint.in_folder(folder)

    def _find(self) -> Checkpoint | None:
        reference = self._reference
        if reference.architecture is not None:
            return self._find_published(reference.architecture, reference.tag or "")
        folder = reference.folder
        if reference.repository is not None:
            folder = find_whole(
                self._hub, reference.repository, ModelLayout.OPEN_CLIP, openclip.CONFIG
            )
        if folder is None or ModelLayout.OPEN_CLIP not in layouts(files_in(folder)):
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
        if (requested := self._tokenizer_repository()) is not None:
            tokenizer = self._hub.find(requested, _TOKENIZER_FILES)
            if tokenizer is None:
                return None
        return Checkpoint.of_architecture(
            architecture,
            folder / name,
            pretrained=openclip.pretrained_entry(architecture, tag),
            tokenizer=tokenizer,
        )

    def _published(self) -> tuple[str, tuple[str, ...]]:
        """Return the repository of a tag's weights, and the names that they may have there."""
        entry = openclip.pretrained_entry(
            self._reference.architecture or "", self._reference.tag or ""
        )
        # ORG/NAME/FILE, or ORG/NAME/ for a repository in open_clip's own layout.
        path = PurePosixPath(entry["hf_hub"])
        repository = "/".join(path.parts[:2])
        return repository, path.parts[2:3] or openclip.WEIGHTS

    def _tokenizer_repository(self) -> str | None:
        """Tell where an architecture's tokenizer is, unless it is CLIP's own or comes along."""
        if self._reference.architecture is None:
            return None
        config = openclip.architecture_config(self._reference.architecture)
        return openclip.tokenizer_repository(config)


def find_whole(hub: HubStore, repository: str, layout: ModelLayout, key: str) -> Path | None:
    """Find the repository's folder, where all of the layout's files are in it."""
    if hub.find(repository, [key]) is None:
        return None
    # The store has a record of the repository then: this asks nobody.
    files = hub.files(repository)
    return hub.find(repository, select(layout, files, repository))


def stored(hub: HubStore, repositories: Iterable[str]) -> tuple[Path, ...]:
    """List the folders of those repositories of which something is here."""
    return tuple(folder for folder in map(hub.folder_of, repositories) if folder.is_dir())


def fault_in(folder: Path, layout: ModelLayout) -> str:
    """Tell what a user's folder lacks of a layout; empty: nothing, or it is of the other engine's.

    For those its model says what to do when it is loaded.
    """
    if not folder.is_dir():
        return f"there is no folder {folder}"
    [other] = set(ModelLayout) - {layout}
    missing = lacking(layout, folder)
    if missing is None or lacking(other, folder) is None:
        return ""
    return f"{folder} holds no {layout} model: {missing} is missing"


def require_layout(
    layout: ModelLayout, files: list[str], where: object, instead: Callable[[], str]
) -> None:
    """Raise ModelUnavailable where the files aren't of this layout.

    ``instead`` says what they are, and what to do.
    """
    present = layouts(files)
    if layout in present:
        return
    if not present:
        select(layout, files, where)  # says which file is missing
    raise ModelUnavailable(f"{where} holds {instead()}")


def _graphs() -> str:
    return "ONNX graphs, and no open_clip weights: set the backend to onnxrt"
