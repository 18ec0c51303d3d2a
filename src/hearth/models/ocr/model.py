"""PP-OCR: the text lines of an image, and where they stand."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hearth.backends import Session
from hearth.batching import NO_HURRY, BatchQueue, Ticket
from hearth.media import ImageReader
from hearth.models.heavy import lightly
from hearth.models.manager import Progress
from hearth.models.ocr import parameters
from hearth.models.ocr.memory import IdleTrim
from hearth.models.ocr.page import Page, Pixels, Polygon, page_of
from hearth.models.ocr.steps import (
    Detector,
    Found,
    Orienter,
    Reading,
    Recogniser,
    padded_width,
)
from hearth.models.options import QueueOptions
from hearth.models.shared import SharedStatistics, SharedWork, digest
from hearth.models.tuning import facts_of, tuned

PAGES_AHEAD = 2
"""Pages that are decoded while one is looked at: each holds up to 12 MB."""

LINES_EACH = 8
"""So many times a queue's capacity of pages may wait as lines: it is refused before a page
is looked at rather than afterwards."""


MOST_LINES = 16
"""Lines that are recognised together at most; more in one run are no faster on a CPU."""

_LINE = (48, 320, 3)
"""What is measured: a line of ordinary length."""


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
        files: Sequence[Path] = (),
        options: QueueOptions | None = None,
    ) -> None:
        self.model_id = model_id
        self._reader = reader
        self._prepare = lightly(self.prepare_image)
        self._files = tuple(files)
        self._options = options = options or QueueOptions()
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
            capacity=options.capacity,
            workers=options.workers,
            ahead=PAGES_AHEAD,
        )
        self._orientation: BatchQueue[Pixels, bool] = self._for_lines(
            turn, orientation, "ocr-orientation"
        )
        self._recognition: BatchQueue[Pixels, Reading] = self._for_lines(
            read, recognition, "ocr-recognition"
        )
        self._work: SharedWork[tuple[Line, ...]] = SharedWork(options.cache_entries)
        self._idle = IdleTrim()

    @property
    def queues(self) -> tuple[BatchQueue[Any, Any], ...]:
        """Detection of pages, orientation and recognition of lines."""
        return (self._pages, self._orientation, self._recognition)

    @property
    def shared(self) -> Mapping[str, SharedStatistics]:
        """What was read once for several requests."""
        return {"ocr": self._work.statistics()}

    @property
    def facts(self) -> Mapping[str, str]:
        """What else is true of the model."""
        return {"provider": self._sessions[0].provider}

    def prepare_image(self, payload: bytes, *, heavy: bool = True) -> Page:
        """An image file as detection takes it; blocking. Raises InvalidInput.

        ``heavy`` as ImageReader has it, which may raise HeavyImage.
        """
        return page_of(self._reader.read(payload, heavy=heavy))

    async def read(
        self,
        payload: bytes,
        *,
        min_confidence: float = parameters.TEXT_SCORE,
        ticket: Ticket = NO_HURRY,
    ) -> list[Line]:
        """The text lines of an image file, from top to bottom and left to right.

        Lines with less than ``min_confidence`` (0 to 1), and those that turn out to say
        nothing, are left out; no line at all is an empty list. Raises InvalidInput for
        anything but a picture, ModelFailed, and what a batch queue raises.
        """

        def read() -> Awaitable[tuple[Line, ...]]:
            return self._read(payload, ticket)

        if self._options.cache_entries:
            lines = await self._work.get(await digest(payload), read, lane=ticket.urgent)
        else:
            lines = await read()
        return [line for line in lines if line.text.strip() and line.confidence >= min_confidence]

    async def _read(self, payload: bytes, ticket: Ticket) -> tuple[Line, ...]:
        """Every line, however uncertain."""
        with self._idle.busy():
            found = await self._pages.submit_raw(payload, self._prepare, ticket=ticket)
            readings = await self.read_lines(found.lines, ticket)
        return tuple(
            Line(box, *reading) for box, reading in zip(found.boxes, readings, strict=True)
        )

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

    def _for_lines(
        self, run: Callable[[Any], Any], session: Session, name: str
    ) -> BatchQueue[Any, Any]:
        options = self._options
        return BatchQueue(
            run,
            name=name,
            max_batch=session.batch_sizes.limit(options.first_batch),
            capacity=LINES_EACH * options.capacity,
            sizes=session.batch_sizes.fixed,
            max_delay=options.max_delay,
        )

    async def warm_up(self) -> None:
        """Learn how long batches of lines take; raises ModelFailed where that fails."""
        line = np.zeros(_LINE, np.uint8)
        for queue, session in zip(self.queues, self._sessions, strict=True):
            if queue is self._pages:
                continue  # one at a time in any case
            facts = await asyncio.to_thread(
                facts_of, session, model_id=self.model_id, files=self._files, item=list(_LINE)
            )
            options = self._options
            await tuned(
                queue,
                line,
                cache=options.curves,
                key=queue.name,
                facts=facts,
                largest=MOST_LINES,
                max_batch=options.max_batch,
            )

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
