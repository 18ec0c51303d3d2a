"""Where the node's faces come from: the hub, a local folder, or files named one by one."""

from pathlib import Path
from typing import TYPE_CHECKING

from hearth.backends.registry import require_backend
from hearth.errors import ModelUnavailable, SettingsError, SetupError
from hearth.families.face.parameters import DETECTION, IN_LAYOUT, RECOGNITION
from hearth.families.face.settings import FaceSettings
from hearth.hub.progress import Progress
from hearth.hub.reference import ONNX_ORGANISATION, ModelReference, parse
from hearth.hub.store import BARRED, HubStore
from hearth.media import ImageReader
from hearth.models.loader import DynamicBatchMaker, ModelDescription, first_missing
from hearth.models.options import QueueOptions

if TYPE_CHECKING:  # they bring OpenCV and onnx along
    from hearth.families.face.files import Graphs
    from hearth.families.face.model import FaceModel

_ENGINE = "onnxrt"

PACKS = ("buffalo_l", "buffalo_m", "buffalo_s", "antelopev2")
"""insightface's packs, which immich-app publishes under the same names: for non-commercial
research only."""


class FaceLoader:
    """Makes the FaceModel of the service ``face``; satisfies ``models.loader.ModelLoader``.

    Its weights are for non-commercial research only (see the package): a node serves faces
    where its settings ask for it. Nothing stands in for a graph that is missing: the model
    is absent or failed then, and its reason says which. Raises SettingsError for a model that
    can't be meant.
    """

    service = "face"

    def __init__(
        self,
        settings: FaceSettings,
        hub: HubStore,
        *,
        reader: ImageReader,
        options: QueueOptions | None = None,
        make_dynamic: DynamicBatchMaker | None = None,
    ) -> None:
        self._settings = settings
        self._hub = hub
        self._reader = reader
        self._options = options or QueueOptions()
        self._make_dynamic = make_dynamic
        self._own: dict[str, Path | None] = {
            DETECTION: settings.detection,
            RECOGNITION: settings.recognition,
        }
        self._reference = _reference(settings.model)

    def describe(self) -> ModelDescription:
        """Tell where the graphs are; never touches the network."""
        named = [path for path in self._own.values() if path is not None]
        folder, repository = self._reference.folder, self._reference.repository
        fault = first_missing(*named)
        if folder is not None and len(named) < len(self._own):
            named.append(folder)
            fault = fault or self._lacking(folder)
        stored = self._hub.folder_of(repository) if repository and self._wanted else None
        return ModelDescription(
            self._settings.model,
            folders=(stored,) if stored is not None and stored.is_dir() else (),
            own=tuple(named),
            origin=repository or "",
            fault=fault,
            barred=BARRED if self._hub.offline else "",
        )

    def resolve(self) -> str:
        """Find the repository; raises ModelUnavailable where it can't be had, or lacks a graph."""
        repository = self._reference.repository
        if repository is None or not self._wanted:
            return ""
        files = self._hub.files(repository)
        if missing := [path for path in self._wanted if path not in files]:
            raise ModelUnavailable(f"{repository} has no {missing[0]}")
        return repository

    def is_local(self) -> bool:
        """Tell whether all files are here already; never touches the network.

        Raises BackendUnavailable where the engine isn't installed.
        """
        require_backend(_ENGINE)
        # What is named by its path has nothing to wait for, right or wrong.
        return not self._wanted or self._downloaded() is not None

    def download(self, progress: Progress) -> None:
        """Fetch what is missing; raises ModelUnavailable, BackendUnavailable."""
        require_backend(_ENGINE)
        repository = self._reference.repository
        if not self._wanted or repository is None:
            return
        snapshot = self._hub.download(repository, self._wanted, progress)
        if self._own[RECOGNITION] is None and self._make_dynamic is not None:
            self._make_dynamic(repository, snapshot, self._hub, self._reference.model_id, progress)

    def load(self) -> "FaceModel":
        """Make the model of its local files; raises SetupError."""
        require_backend(_ENGINE)
        from hearth.families.face.files import open_detection, open_recognition
        from hearth.families.face.model import FaceModel

        graphs = self._graphs()
        sessions = [open_detection(graphs.detection, self._settings)]
        try:
            sessions.append(open_recognition(graphs.recognition, self._settings))
            return FaceModel(
                model_id=self._model_id(),
                detection=sessions[0],
                recognition=sessions[1],
                reader=self._reader,
                min_confidence=self._settings.min_confidence,
                files=graphs,
                options=self._options,
            )
        except BaseException:
            for session in sessions:
                session.close()
            raise

    @property
    def _wanted(self) -> list[str]:
        """The files that come from the hub."""
        if self._reference.repository is None:
            return []
        return [path for role, path in IN_LAYOUT.items() if self._own[role] is None]

    def _downloaded(self) -> Path | None:
        repository = self._reference.repository
        return None if repository is None else self._hub.find(repository, self._wanted)

    def _graphs(self) -> "Graphs":
        from hearth.families.face.files import Graphs

        return Graphs(*(self._own[role] or self._found(role) for role in IN_LAYOUT))

    def _found(self, role: str) -> Path:
        from hearth.families.face.files import dynamic_copy, graph_in

        if self._reference.folder is not None:
            return graph_in(self._reference.folder, role)
        snapshot = self._downloaded()
        if snapshot is None:
            raise ModelUnavailable(f"{self._reference.text} isn't downloaded")
        freed = dynamic_copy(snapshot) if role == RECOGNITION else None
        return freed or snapshot / IN_LAYOUT[role]

    def _lacking(self, folder: Path) -> str:
        """Tell why the user's folder can't be used; empty: nothing is lacking."""
        from hearth.families.face.files import graph_in

        try:
            for role in (role for role, own in self._own.items() if own is None):
                graph_in(folder, role)
        except SetupError as error:
            return str(error)
        return ""

    def _model_id(self) -> str:
        """Name the recogniser's model: vectors of different ones can't be compared."""
        own = self._own[RECOGNITION]
        if own is None:
            return self._reference.model_id
        in_layout = own.parts[-2:] == Path(IN_LAYOUT[RECOGNITION]).parts
        return own.resolve().parent.parent.name if in_layout else own.stem


def _reference(text: str) -> ModelReference:
    """Read ``face.model``: a repository, a folder, or one of ``PACKS`` by its name."""
    if text in PACKS and not Path(text).is_dir():
        text = f"{ONNX_ORGANISATION}/{text}"
    try:
        reference = parse(text)
    except SettingsError:
        reference = None
    if reference is None or reference.kind == "open_clip":
        raise SettingsError(
            f"face.model = {text!r}: name {', '.join(PACKS)}, an ONNX repository ORG/NAME of the "
            "hub, or a local folder"
        )
    return reference
