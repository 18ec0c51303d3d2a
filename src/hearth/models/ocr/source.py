"""Where the OCR model comes from: rapidocr's package carries it, so it is always there."""

from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from hearth.backends import Session
from hearth.errors import ModelUnavailable, how_to_install
from hearth.machine import usable_cores
from hearth.media import ImageReader
from hearth.models.manager import About, Progress
from hearth.models.options import QueueOptions
from hearth.settings import OcrSettings

if TYPE_CHECKING:
    from hearth.models.ocr.model import OcrModel

MODEL_ID = "PP-OCRv6-small"

# In the package's folder `models`; a later rapidocr may bring others: its version is pinned.
DETECTION = "PP-OCRv6_det_small.onnx"
ORIENTATION = "ch_ppocr_mobile_v2.0_cls_mobile.onnx"
RECOGNITION = "PP-OCRv6_rec_small.onnx"

_CURE = how_to_install("server")


class OcrSource:
    """The source of the service ``ocr``; satisfies ``models.manager.ModelSource``."""

    service = "ocr"

    def __init__(
        self,
        settings: OcrSettings,
        *,
        reader: ImageReader,
        options: QueueOptions | None = None,
    ) -> None:
        self._settings = settings
        self._reader = reader
        self._options = options or QueueOptions()

    def about(self) -> About:
        """The model of rapidocr's package."""
        return About(MODEL_ID, origin="rapidocr's package", barred=_missing() or "")

    def look_up(self) -> str:
        """Nothing to fetch: raises ModelUnavailable where the package isn't whole."""
        if (missing := _missing()) is not None:
            raise ModelUnavailable(missing)
        return ""

    def is_local(self) -> bool:
        """Whether rapidocr's package and its model files are installed."""
        return _missing() is None

    def download(self, progress: Progress) -> None:
        """As ``look_up``."""
        self.look_up()

    pull = download

    def load(self) -> "OcrModel":
        """Open the three sessions; raises ModelUnavailable and BackendUnavailable."""
        self.look_up()
        from hearth.backends.onnx import OnnxSession
        from hearth.backends.parallel import ParallelSession
        from hearth.graphs.best_class import with_best_class

        threads = self._settings.threads

        # Without the arena: the memory of the largest page would stay for good.
        def session(name: str) -> Session:
            path = _folder() / name
            if name != RECOGNITION:
                return OnnxSession(path, threads=threads, arena=False)
            reading = OnnxSession(path, threads=1, arena=False, graph=with_best_class(path))
            return ParallelSession(reading, runs=threads or usable_cores(), threads=threads)

        # rapidocr takes half a second to import, ONNX Runtime nearly as long to open
        # the sessions, and neither needs the other.
        with ThreadPoolExecutor(1) as aside:
            opening = [
                aside.submit(session, name) for name in (DETECTION, ORIENTATION, RECOGNITION)
            ]
            try:
                from hearth.models.ocr.model import OcrModel
            except ImportError as error:
                raise ModelUnavailable(f"OCR can't be imported ({error}): {_CURE}") from error
            detection, orientation, recognition = (opened.result() for opened in opening)
        return OcrModel(
            model_id=MODEL_ID,
            detection=detection,
            orientation=orientation,
            recognition=recognition,
            reader=self._reader,
            files=tuple(_folder() / name for name in (DETECTION, ORIENTATION, RECOGNITION)),
            options=self._options,
        )


def _folder() -> Path:
    """The folder of the models; found without importing the package."""
    spec = find_spec("rapidocr")
    if spec is None or not spec.submodule_search_locations:
        raise ModelUnavailable(f"the package rapidocr isn't installed: {_CURE}")
    return Path(spec.submodule_search_locations[0]) / "models"


def _missing() -> str | None:
    """What is missing and what to do about it, in one line; None where all is there."""
    try:
        folder = _folder()
    except ModelUnavailable as error:
        return str(error)
    absent = [
        name for name in (DETECTION, ORIENTATION, RECOGNITION) if not (folder / name).is_file()
    ]
    return f"rapidocr's package lacks {', '.join(absent)}: {_CURE}" if absent else None
