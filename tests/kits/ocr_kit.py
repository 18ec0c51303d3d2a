"""OCR for tests: pictures with text on them, and models whose graphs can be watched or spoilt."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import rapidocr
from PIL import Image, ImageDraw, ImageFont

from backend_kit import open_onnx
from hearth.backends import Array, Session
from hearth.families.ocr.loader import DETECTION, MODEL_ID, ORIENTATION, RECOGNITION, OcrLoader
from hearth.families.ocr.model import OcrModel
from hearth.families.ocr.settings import OcrSettings
from hearth.media import ImageReader
from hearth.models.options import QueueOptions

TEXT = ("The quick brown fox jumps", "over the lazy dog", "Invoice No. 4711-0815", "Total: 99 EUR")

STEPS = {"detection": DETECTION, "orientation": ORIENTATION, "recognition": RECOGNITION}
"""The steps in their order, and the files of their graphs."""

READER = ImageReader(100_000_000)


def drawn(
    lines: tuple[str, ...] = TEXT,
    size: tuple[int, int] = (420, 400),
    height: int = 28,
) -> Image.Image:
    """Black lines on white.

    Detection scales the shorter edge up to 736 pixels: the squarer, the cheaper.
    """
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        at = (20, 20 + number * height * 1.7)
        pen.text(at, line, "black", font=ImageFont.load_default(height))
    return image


def png(image: Image.Image, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


@contextmanager
def loaded(options: QueueOptions | None = None, **settings: Any) -> Iterator[OcrModel]:
    """The model as a node has it, closed at the end; ``settings`` are OcrSettings'."""
    model = OcrLoader(OcrSettings(**settings), reader=READER, options=options).load()
    try:
        yield model
    finally:
        model.close()


Watch = Callable[[Array, Array], None]
"""Sees what goes into a graph and what comes out, which it may change."""


class Watched:
    """A session with somebody who looks on."""

    def __init__(self, session: Session, watch: Watch) -> None:
        self._session = session
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        answers = self._session.run(feeds)
        [batch], [numbers] = feeds.values(), answers.values()
        self._watch(batch, numbers)
        return answers


def session(step: str) -> Session:
    """One of the graphs, opened as the node does."""
    folder = Path(rapidocr.__file__).parent / "models"
    return open_onnx(folder / STEPS[step], keep_memory=False)


@contextmanager
def watched(options: QueueOptions | None = None, **watches: Watch) -> Iterator[OcrModel]:
    """The model with somebody who looks on at some of its steps, closed at the end."""
    sessions = {
        step: Watched(session(step), watches[step]) if step in watches else session(step)
        for step in STEPS
    }
    model = OcrModel(model_id=MODEL_ID, reader=READER, options=options, **sessions)
    try:
        yield model
    finally:
        model.close()
