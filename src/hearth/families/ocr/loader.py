"""Where the OCR model comes from: rapidocr's package, and recognisers of the settings' choice."""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from hearth.backends import Session, SessionOptions
from hearth.backends.registry import open_session, require_backend
from hearth.errors import ModelUnavailable, SetupError, how_to_install
from hearth.families.ocr.recogniser_names import (
    RecognitionName,
    alphabet_beside,
    layout_in,
    named,
    recogniser_in,
)
from hearth.families.ocr.settings import OcrSettings
from hearth.hub.progress import Progress
from hearth.hub.store import BARRED, HubStore
from hearth.machine import usable_cores
from hearth.media import ImageReader
from hearth.models.loader import ModelDescription
from hearth.models.options import QueueOptions
from hearth.models.sessions import session_options

if TYPE_CHECKING:
    from hearth.families.ocr.model import OcrModel

log = logging.getLogger(__name__)

MODEL_ID = "PP-OCRv6-small"

# In the package's folder `models`; a later rapidocr may bring others: its version is pinned.
DETECTION = "PP-OCRv6_det_small.onnx"
ORIENTATION = "ch_ppocr_mobile_v2.0_cls_mobile.onnx"
RECOGNITION = "PP-OCRv6_rec_small.onnx"

_SCRIPTS = Path(__file__).parents[2] / "assets" / "scripts.onnx"
"""Classifier written by ``tools/train_scripts.py``."""

_FOR_CPUS = "that is for a CPU, and graphs that take any number of lines, or one"

_PACKAGE = "rapidocr's package"
_CURE = how_to_install("server")


class OcrLoader:
    """The source of the service ``ocr``; satisfies ``models.loader.ModelLoader``.

    Detection and orientation are always the package's. Recognisers that the settings name come
    from ``hub`` or from local files; raises SettingsError for a name that can't be meant.
    """

    service = "ocr"

    def __init__(
        self,
        settings: OcrSettings,
        *,
        reader: ImageReader,
        hub: HubStore | None = None,
        options: QueueOptions | None = None,
    ) -> None:
        self._settings = settings
        self._reader = reader
        self._hub = hub
        self._options = options or QueueOptions()
        self._recognisers = tuple(dict.fromkeys(map(named, settings.recognition)))

    @property
    def model_id(self) -> str:
        """Names of the recognisers, with + between several."""
        return "+".join(
            MODEL_ID if name.is_packaged else name.model_id for name in self._recognisers
        )

    def describe(self) -> ModelDescription:
        """Tell which recognisers there are, and where; never touches the network."""
        remote = list(self._remote())
        stored = [hub.folder_of(name.repository) for name, hub in remote]
        own = tuple(name.path for name in self._recognisers if name.path is not None)
        barred = any(hub.offline and self._found(name) is None for name, hub in remote)
        return ModelDescription(
            self.model_id,
            folders=tuple(folder for folder in dict.fromkeys(stored) if folder.is_dir()),
            own=own,
            origin=", ".join([_PACKAGE, *dict.fromkeys(name.repository for name, _ in remote)]),
            fault=_fault_in(own),
            barred=_missing() or (BARRED if barred else ""),
        )

    def resolve(self) -> str:
        """Find the repositories; raises ModelUnavailable where one or the package can't be had."""
        _require_package()
        for name, hub in self._remote():
            layout_in(name, hub.files(name.repository))
        return ", ".join(dict.fromkeys(name.repository for name, _ in self._remote()))

    def is_local(self) -> bool:
        """Tell whether the package and all recognisers are here; never touches the network.

        Raises BackendUnavailable where a recogniser is wanted and the engine isn't installed.
        """
        remote = list(self._remote())
        if remote:
            require_backend("onnxrt")
        # What is named by its path has nothing to wait for, right or wrong.
        return _missing() is None and all(self._found(name) is not None for name, _ in remote)

    def download(self, progress: Progress) -> None:
        """Fetch the recognisers that are missing; raises ModelUnavailable."""
        _require_package()
        for name, hub in self._remote():
            if self._found(name) is None:
                patterns = layout_in(name, hub.files(name.repository))
                hub.download(name.repository, patterns, progress)

    def load(self) -> "OcrModel":
        """Open the sessions; raises SetupError."""
        _require_package()
        from hearth.backends.parallel import ParallelSession
        from hearth.graphs.best_class import with_best_class

        threads = self._settings.threads
        options = replace(session_options(self._settings), threads=threads)
        package = _folder()
        graphs = [self._graph(name) for name in self._recognisers]
        # rapidocr takes half a second to import, ONNX Runtime nearly as long to open
        # the sessions, and neither needs the other.
        with ExitStack() as opened, ThreadPoolExecutor(1) as aside:

            def session(path: Path, options: SessionOptions) -> Session:
                return opened.enter_context(closing(open_session(path, options)))

            def reading(path: Path) -> tuple[Session, Session | None]:
                of_lines = replace(options, content=with_best_class(path))
                single = session(path, replace(of_lines, threads=1))
                if _runs_single_lines(single):
                    return single, self._quick(path, single, partial(session, path))
                single.close()
                if self._settings.precision == "int8":
                    raise ModelUnavailable(f"{path} can't be read in 8 bits: {_FOR_CPUS}")
                return session(path, of_lines), None

            paths = (package / DETECTION, package / ORIENTATION)
            opening = [aside.submit(session, path, options) for path in paths]
            reads = [aside.submit(reading, path) for path in graphs]
            # Too small to be worth a device, or a second thread.
            tiny = SessionOptions(device="cpu", threads=1)
            classifier = aside.submit(session, _SCRIPTS, tiny)
            try:
                from hearth.families.ocr.model import OcrModel
                from hearth.families.ocr.quantised import QuantisedSession
            except ImportError as error:
                raise ModelUnavailable(f"OCR can't be imported ({error}): {_CURE}") from error
            detection, orientation = (future.result() for future in opening)
            readers: list[Session] = []
            for graph, (recogniser, quick) in zip(graphs, (r.result() for r in reads), strict=True):
                if graph.parent != package:
                    _complete(graph, recogniser)
                reader: Session = recogniser
                if quick is not None:
                    reader = QuantisedSession(quick, recogniser)
                if _runs_single_lines(recogniser):
                    runs = threads or usable_cores()
                    reader = ParallelSession(reader, runs=runs, threads=threads)
                readers.append(reader)
            model = OcrModel(
                model_id=self.model_id,
                detection=detection,
                orientation=orientation,
                recognition=readers[0],
                further=readers[1:],
                scripts=classifier.result(),
                reader=self._reader,
                files=(*paths, *graphs),
                options=self._options,
            )
            opened.pop_all()
            model.release_memory()  # rewriting a graph takes several times its size
            return model

    def _quick(
        self, path: Path, full: Session, opened: Callable[[SessionOptions], Session]
    ) -> Session | None:
        """Open a recogniser in 8 bits as well, where the settings have it and it is proved.

        Raises ModelUnavailable where 8 bits were asked for and can't be had.
        """
        from hearth.graphs.best_class import with_best_class
        from hearth.graphs.int8_products import with_int8_products

        precision = self._settings.precision
        if precision == "fp32":
            return None
        try:
            graph = with_best_class(path, ranks=2)
            graph = None if graph is None else with_int8_products(graph)
            if graph is None:
                raise ModelUnavailable("its graph is of another form")
            on_cpu = SessionOptions(device="cpu", threads=1, content=graph)
            quick = opened(on_cpu)
            from hearth.families.ocr.quantised import prove_equal

            prove_equal(quick, full, faster=precision == "auto")
        except ModelUnavailable as error:
            if precision == "int8":
                raise ModelUnavailable(f"{path.name} can't be read in 8 bits: {error}") from error
            log.info("%s is read in float32: %s", path.name, error)
            return None
        return quick

    def _remote(self) -> Iterator[tuple[RecognitionName, HubStore]]:
        """Yield each recogniser that is a repository of the hub, with the hub."""
        for name in self._recognisers:
            if name.repository:
                if self._hub is None:
                    raise ModelUnavailable(f"{name.text} is the hub's, and there is no hub here")
                yield name, self._hub

    def _found(self, name: RecognitionName) -> Path | None:
        """Find the snapshot with a repository's files, where they are here."""
        assert self._hub is not None
        found = (self._hub.find(name.repository, layout) for layout in name.layouts)
        return next(filter(None, found), None)

    def _graph(self, name: RecognitionName) -> Path:
        if name.path is not None:
            return recogniser_in(name.path)
        if name.is_packaged:
            return _folder() / RECOGNITION
        snapshot = self._found(name)
        if snapshot is None:
            raise ModelUnavailable(f"{name.text} isn't downloaded")
        return recogniser_in(snapshot / name.inside)


def _runs_single_lines(session: Session) -> bool:
    """Tell whether lines are best read side by side, each by one thread of a CPU."""
    fixed = session.batch_sizes.fixed
    return session.device == "cpu" and (not fixed or 1 in fixed)


def _complete(graph: Path, session: Session) -> None:
    """Give a recogniser the alphabet beside it; raises ModelUnavailable where it can't read."""
    from hearth.families.ocr.recognition import LineRecogniser, require_lines

    try:
        require_lines(session)
        if not session.metadata.get("character"):
            listed = alphabet_beside(graph)
            if listed is None:
                raise ModelUnavailable(
                    "no list of characters in its metadata (character), nor beside it: put "
                    "inference.yml there, or a text file with a character on each line"
                )
            session.metadata = {**session.metadata, "character": listed}
        LineRecogniser(session)
    except ModelUnavailable as error:
        raise ModelUnavailable(f"{graph}: {error}") from error


def _fault_in(paths: tuple[Path, ...]) -> str:
    """Tell why the user's files can't be used; empty: nothing is wrong."""
    try:
        for path in paths:
            recogniser_in(path)
    except SetupError as error:
        return str(error)
    return ""


def _folder() -> Path:
    """Find the folder of the models; found without importing the package."""
    spec = find_spec("rapidocr")
    if spec is None or not spec.submodule_search_locations:
        raise ModelUnavailable(f"the package rapidocr isn't installed: {_CURE}")
    return Path(spec.submodule_search_locations[0]) / "models"


def _require_package() -> None:
    if (missing := _missing()) is not None:
        raise ModelUnavailable(missing)


def _missing() -> str | None:
    """Say in one line what is missing and what to do about it; None where all is there."""
    try:
        folder = _folder()
    except ModelUnavailable as error:
        return str(error)
    absent = [
        name for name in (DETECTION, ORIENTATION, RECOGNITION) if not (folder / name).is_file()
    ]
    return f"rapidocr's package lacks {', '.join(absent)}: {_CURE}" if absent else None
