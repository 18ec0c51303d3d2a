"""ONNX files of a model, wherever they are: local paths, folders, exports, the hub."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from hearth.backends.registry import BACKENDS
from hearth.errors import ModelUnavailable, SettingsError
from hearth.families.clip.exports import (
    belongs,
    dynamic_copy,
    how_to_convert,
    how_to_export,
    is_impossible,
    what_is_damaged,
)
from hearth.families.clip.files import IMAGE, GraphFiles
from hearth.families.clip.parts import Parts
from hearth.families.clip.settings import ClipSettings
from hearth.families.clip.variants import Place, choose, left_out, variant_folder
from hearth.families.clip.weights import fault_in, find_whole, require_layout, stored
from hearth.hub.atomic import about
from hearth.hub.integrity import MARK, damage, is_onnx, is_sound
from hearth.hub.layout import ModelLayout, files_in, select
from hearth.hub.progress import Progress
from hearth.hub.reference import ModelReference
from hearth.hub.store import BARRED, HubStore, RepositoryMissing
from hearth.models.loader import DynamicBatchMaker, ModelDescription, first_missing

log = logging.getLogger(__name__)


def export_folder(data_dir: Path, reference: ModelReference) -> Path:
    """Name the folder where ``hearth models export`` puts a model, and a node looks for it."""
    return data_dir / "exports" / reference.folder_name


class Origin(Protocol):
    """Source that a model's files come from; methods block."""

    def describe(self, settings: ClipSettings) -> ModelDescription:
        """Tell what it is, and where its files are; never touches the network."""
        ...

    def resolve(self) -> str:
        """Find where it can be fetched from; asks the network, and raises ModelUnavailable."""
        ...

    def is_local(self) -> bool:
        """Tell whether all files are here; never touches the network."""
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
        self._files = GraphFiles.of_paths(image, text)

    def describe(self, settings: ClipSettings) -> ModelDescription:
        own = filter(None, (self._files.image, self._files.text))
        fault = first_missing(self._files.image, self._files.text)
        return ModelDescription(settings.model, settings.precision, own=tuple(own), fault=fault)

    def resolve(self) -> str:
        return ""

    def is_local(self) -> bool:
        return True

    def download(self, progress: Progress) -> None: ...

    def load(self, settings: ClipSettings) -> Parts:
        if settings.precision not in ("auto", "fp32"):
            raise SettingsError(
                f"the files of onnx_image are taken as they are: set precision = auto with them, "
                f"and name files in {settings.precision}"
            )
        return self._files.load(settings)


class OnnxModel:
    """A pair of graphs: a local folder's, an export's, or the hub's.

    ``export`` is the place of the model's export in fp32; of its variants beside that the
    one is taken that ``settings`` want (``variants.choose``). ``service`` is whose setting
    the errors name; ``make_dynamic`` frees the batch axis of a download.
    """

    def __init__(
        self,
        reference: ModelReference,
        hub: HubStore,
        export: Path,
        settings: ClipSettings | None = None,
        service: str = "clip",
        *,
        make_dynamic: DynamicBatchMaker | None = None,
    ) -> None:
        self._reference = reference
        self._hub = hub
        self._place = Place(reference.full_name, export)
        self._settings = settings or ClipSettings()
        self._service = service
        self._make_dynamic = make_dynamic

    def describe(self, settings: ClipSettings) -> ModelDescription:
        about = ModelDescription(settings.model, settings.precision)
        if (folder := self._reference.folder) is not None:
            return replace(about, own=(folder,), fault=fault_in(folder, ModelLayout.ONNX))
        exports = self._exports(settings.precision)
        repositories = self._reference.onnx_repositories()
        downloads = () if any(map(is_sound, exports)) else stored(self._hub, repositories)
        return replace(
            about,
            folders=(*downloads, *exports),
            origin=" or ".join(repositories),
            barred=BARRED if self._hub.offline else "",
        )

    def resolve(self) -> str:
        return self._offer()[0]

    def is_local(self) -> bool:
        # With a local folder there is nothing to wait for, right or wrong.
        return self._reference.folder is not None or self._chosen(self._settings) is not None

    def download(self, progress: Progress) -> None:
        if self._reference.folder is not None:
            return
        if self._chosen(self._settings) is None:
            try:
                self._fetch(progress)
            except ModelUnavailable as error:
                if not (note := self._note()) or self._settings.precision in ("int8", "fp16"):
                    raise
                raise type(error)(f"{error}{note}") from error
        downloaded = self._downloaded()
        make = self._make_dynamic
        if make is not None and downloaded is not None and self.graphs() == downloaded[1]:
            # The hub's files are known by their hashes, and stay as they are.
            make(*downloaded, self._hub, self._reference.model_id, progress)

    def load(self, settings: ClipSettings) -> Parts:
        folder = self._chosen(settings)
        if folder is None:
            folder = self._reference.folder
            if folder is None or is_onnx(folder):
                raise self._missing(settings)
            self._require_graphs(files_in(folder), folder)
        elif folder == self._reference.folder and (folder / MARK).is_file():
            # Named by the user, it has nothing to stand in for it.
            raise ModelUnavailable(f"{folder} is damaged ({damage(folder)}): export it again")
        else:
            self._tell_of_others(settings)
        parts = GraphFiles.in_folder(folder, self._reference.model_id).load(settings)
        self._tell_of_batches(folder, parts)
        return parts

    def graphs(self) -> Path | None:
        """Find the whole graphs in fp32 that are taken; None where none are here.

        The user's own; an export of this very model; a download, or its copy with a free batch
        axis.
        """
        own, export = self._reference.folder, self._place.export
        if own is not None and is_onnx(own):
            return own
        if is_sound(export) and belongs(export, self._place.name):
            return export
        if (downloaded := self._downloaded()) is None:
            return None
        _, snapshot = downloaded
        return dynamic_copy(snapshot) or snapshot

    def _chosen(self, settings: ClipSettings) -> Path | None:
        graphs = self.graphs()
        if graphs is not None and graphs == self._reference.folder and settings.precision == "auto":
            return graphs  # what the user names is what the user means
        return choose(graphs, self._place, settings)

    def _missing(self, settings: ClipSettings) -> ModelUnavailable:
        name, precision = self._reference.text, settings.precision
        if precision in ("auto", "fp32"):
            return ModelUnavailable(f"{name} isn't downloaded{self._note()}")
        variant = variant_folder(self._place.export, precision)
        damaged = what_is_damaged(variant, self._place.name, precision)
        return ModelUnavailable(
            damaged or f"{name} isn't here in {precision}: {how_to_convert(name, precision)}"
        )

    def _note(self) -> str:
        """Tell why exports that are here aren't taken."""
        export = self._place.export
        if is_onnx(export) and not belongs(export, self._place.name):
            return f" ({export} is of {_plain(about(export)['reference'])})"
        damaged = self._damaged()
        return f" ({'; '.join(damaged)})" if damaged else ""

    def _damaged(self) -> list[str]:
        """Describe the exports of this model, in any precision, that are damaged."""
        export, name = self._place.export, self._place.name
        places = {"fp32": export, **{p: variant_folder(export, p) for p in ("int8", "fp16")}}
        faults = (what_is_damaged(place, name, precision) for precision, place in places.items())
        return [line for line in faults if line]

    def _tell_of_others(self, settings: ClipSettings) -> None:
        """Log what would have been taken, and what keeps it from that."""
        if why := left_out(self.graphs(), self._place, settings):
            log.warning("%s", why)
        for damaged in self._damaged():
            log.warning("%s", damaged)

    def _tell_of_batches(self, folder: Path, parts: Parts) -> None:
        """Log that a download has no copy with a free batch axis, where one may be made."""
        downloaded = self._downloaded() if self._reference.folder is None else None
        sessions = [parts.image] if parts.text is None else [parts.image, parts.text]
        is_fixed = any(session.batch_sizes.fixed == (1,) for session in sessions)
        if (
            downloaded is not None
            and downloaded[1] == folder
            and is_fixed
            and not is_impossible(folder)
        ):
            log.warning(
                "%s runs in batches of 1: `hearth models pull %s` makes a free batch axis",
                self._reference.model_id,
                self._reference.text,
            )

    def _fetch(self, progress: Progress) -> None:
        repository, files = self._offer()
        self._hub.download(repository, files, progress)

    def _offer(self) -> tuple[str, tuple[str, ...]]:
        """Return the repository that has the graphs, and which of its files they are."""
        if self._settings.precision not in ("auto", "fp32"):
            raise self._missing(self._settings)
        repository = self._choose()
        files = self._hub.files(repository)
        self._require_graphs(files, repository)
        return repository, select(ModelLayout.ONNX, files, repository)

    def _exports(self, precision: str) -> list[Path]:
        """Return the exports of this model that are here, in this precision or (auto) in any."""
        export = self._place.export
        places = {"fp32": export, **{p: variant_folder(export, p) for p in ("fp16", "int8")}}
        asked_for = [place for p, place in places.items() if precision in ("auto", p)]
        return [place for place in asked_for if place.is_dir() and belongs(place, self._place.name)]

    def _downloaded(self) -> tuple[str, Path] | None:
        """Return the repository that is here, and its snapshot."""
        for repository in self._reference.onnx_repositories():
            folder = find_whole(self._hub, repository, ModelLayout.ONNX, IMAGE.as_posix())
            if folder is not None:
                return repository, folder
        return None

    def _choose(self) -> str:
        try:
            return self._hub.choose(self._reference.onnx_repositories())
        except RepositoryMissing as error:
            if self._reference.kind == "repository":
                raise
            raise ModelUnavailable(f"{error}; {self._otherwise()}") from error

    def _require_graphs(self, files: list[str], where: object) -> None:
        def weights() -> str:
            return f"open_clip weights, and no ONNX graphs: {self._otherwise()}"

        require_layout(ModelLayout.ONNX, files, where, weights)

    def _otherwise(self) -> str:
        """Tell what the user can do where there are no graphs: all of it needs torch."""
        export = how_to_export(self._reference.full_name)
        ways = f"{export} once, or set {self._service}.backend to torch"
        missing = BACKENDS["torch"].unavailable()
        return f"{ways} (either needs torch: {missing})" if missing else ways


def _plain(text: object) -> str:
    return " ".join(str(text).split())[:200]
