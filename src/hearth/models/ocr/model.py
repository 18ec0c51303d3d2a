"""PP-OCR: the text lines of an image, and where they stand."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hearth.backends import Session
from hearth.batching import NO_HURRY, BatchQueue, Ticket
from hearth.media import ImageReader
from hearth.models.manager import Progress
from hearth.models.ocr import parameters
from hearth.models.ocr.memory import IdleTrim
from hearth.models.ocr.page import Page, Pixels, Polygon, page_of, polygons
from hearth.models.ocr.steps import (
    Detector,
    Found,
    Orienter,
    Reading,
    Recogniser,
    padded_width,
)

WAITING_PAGES = 64
"""Pages that may wait for detection: each holds up to 12 MB, and takes about a second."""


class Line(NamedTuple):
    """One line of text."""

    box: Polygon
    """In pixels of the upright image."""
    text: str
    confidence: float


class OcrModel:
    """A loaded PP-OCR; satisfies ``models.manager.Manager``.

    ``detection``, ``orientation`` and ``recognition`` are sessions over rapidocr's ONNX
    files, each with one input and one output: see ``steps``. Owns the sessions. Raises
    ModelUnavailable where recognition carries no list of characters.
    """

    service = "ocr"

    def __init__(
        self,
        *,
        model_id: str,
        detection: Session,
        orientation: Session,
        recognition: Session,
        reader: ImageReader,
        max_batch: int = 8,
        queue_capacity: int = 1024,
    ) -> None:
        self.model_id = model_id
        self._reader = reader
        self._sessions = (detection, orientation, recognition)
        self.runtime = detection.runtime
        self.device = detection.device
        self.precisions = tuple(dict.fromkeys(session.precision for session in self._sessions))
        find, turn, read = Detector(detection), Orienter(orientation), Recogniser(recognition)
        # A page has a size of its own: two of them seldom fit into one batch.
        self._pages = BatchQueue[Page, Found](
            find,
            name="ocr-detection",
            max_batch=1,
            capacity=min(WAITING_PAGES, queue_capacity),
        )
        self._orientation = BatchQueue[Pixels, bool](
            turn,
            name="ocr-orientation",
            max_batch=orientation.batch_sizes.limit(max_batch),
            capacity=queue_capacity,
        )
        self._recognition = BatchQueue[Pixels, Reading](
            read,
            name="ocr-recognition",
            max_batch=recognition.batch_sizes.limit(max_batch),
            capacity=queue_capacity,
        )
        self._idle = IdleTrim()

    @property
    def queues(self) -> tuple[BatchQueue[Any, Any], ...]:
        """Detection of pages, orientation and recognition of lines."""
        return (self._pages, self._orientation, self._recognition)

    @property
    def facts(self) -> Mapping[str, str]:
        """What else is true of the model."""
        return {"provider": self._sessions[0].provider}

    def prepare_image(self, payload: bytes) -> Page:
        """An image file as ``read`` takes it; blocking. Raises InvalidInput."""
        return page_of(self._reader.read(payload))

    async def read(
        self,
        page: Page,
        *,
        min_confidence: float = parameters.TEXT_SCORE,
        ticket: Ticket = NO_HURRY,
    ) -> list[Line]:
        """The text lines of a page, from top to bottom and left to right.

        Lines with less than ``min_confidence`` (0 to 1), and those that turn out to say
        nothing, are left out; no line at all is an empty list. Raises ModelFailed, and
        what a batch queue raises.
        """
        with self._idle.busy():
            found = await self._pages.submit(page, ticket=ticket)
            readings = await self.read_lines(found.lines, ticket)
        return [
            Line(box, text, confidence)
            for box, (text, confidence) in zip(polygons(page, found.boxes), readings, strict=True)
            if text.strip() and confidence >= min_confidence
        ]

    async def read_lines(self, lines: Sequence[Pixels], ticket: Ticket = NO_HURRY) -> list[Reading]:
        """What lines of any size say, in order; each BGR (height, width, 3), uint8.

        A line that stands on its head is turned first; what a line says depends on no
        other. Raises ModelFailed, and what a batch queue raises.
        """
        if not lines:
            return []
        turned = await self._orientation.submit_all([(line, None) for line in lines], ticket=ticket)
        upright = [
            line[::-1, ::-1].copy() if upside_down else line
            for line, upside_down in zip(lines, turned, strict=True)
        ]
        widths = [padded_width(line) for line in upright]
        order = sorted(range(len(lines)), key=widths.__getitem__)
        readings = await self._recognition.submit_all(
            [(upright[index], widths[index]) for index in order], ticket=ticket
        )
        in_order = dict(zip(order, readings, strict=True))
        return [in_order[index] for index in range(len(lines))]

    async def warm_up(self) -> None:
        """Nothing to prove: the files come with a package of a pinned version."""

    def load_derived(self) -> None:
        """Nothing is derived."""

    async def derive(self, progress: Progress) -> None:
        """Nothing is derived."""

    def close(self) -> None:
        """End the queues and free the sessions."""
        self._idle.close()
        for queue in self.queues:
            queue.close()
        for session in self._sessions:
            session.close()
