"""PP-OCR: the text lines of an image, and where they stand."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hearth.backends import Session, release_memory
from hearth.batching import NO_CONTEXT, BatchQueue, QueueHandle, RequestContext
from hearth.errors import HearthError
from hearth.families.ocr import parameters
from hearth.families.ocr.detection import LineDetector, PageLines
from hearth.families.ocr.memory import IdleTrim
from hearth.families.ocr.orientation import Orienter, lines_for_orientation, read_either_way
from hearth.families.ocr.page import Page, Polygon, page_of
from hearth.families.ocr.readers import LineReader
from hearth.families.ocr.recognition import LineReading, LineRecogniser, padded_width
from hearth.families.ocr.rereading import read_again
from hearth.families.ocr.scripts import ScriptClassifier
from hearth.machine import trim_memory
from hearth.media import ImagePayload, ImageReader, Picture, PixelForm
from hearth.media.raw import Pixels
from hearth.models.media_work import exclusive_when_heavy
from hearth.models.options import QueueOptions
from hearth.models.sessions import fallback_of, tune_session
from hearth.models.single_flight import SharedStatistics, SingleFlightCache, key_of

PAGES_AHEAD = 3
"""Pages under way, from their decoding until their last line is read; twice as many for several
clients: one is read, one looked at, one decoded. The others wait as files, for a page takes up to
72 MB (12 megapixels: 36) until its lines are cut out of it, and these less."""

_LINES = 2 * PAGES_AHEAD * parameters.DET_MAX_CANDIDATES
"""Lines that may wait: all that can come of the pages under way. A page is refused before it
is looked at, never afterwards."""

MOST_LINES = 16
"""Lines that are recognised together at most; more in one run are no faster on a CPU."""

_LINE = (48, 320, 3)
"""Size of the line that is measured: an ordinary length."""

_SMALLEST_PAGE = (3, 32, 32)
_SMALLEST_LINE = (*parameters.REC_IMAGE_SHAPE[:2], parameters.LEAST_WIDTH)
"""Sizes of the least that detection and recognisers are given."""


class Line(NamedTuple):
    """One line of text."""

    box: Polygon
    """Box in pixels of the upright image."""
    text: str
    confidence: float

    def is_read(self, min_confidence: float) -> bool:
        """Tell whether it says something, with at least this confidence."""
        return bool(self.text.strip()) and self.confidence >= min_confidence


class OcrModel:
    """A loaded PP-OCR; satisfies ``models.model.Model``.

    ``detection``, ``orientation`` and ``recognition`` are sessions over rapidocr's ONNX
    files, each with one input and one output: see ``detection``, ``orientation``, ``recognition``.
    ``further`` are recognisers for lines that the first can't write; ``scripts`` tells which lines
    these are (see ``scripts.ScriptClassifier``): without it all is read by the first. Owns the
    sessions. Raises ModelUnavailable where a recogniser carries no list of characters that fits.
    """

    service = "ocr"

    def __init__(
        self,
        *,
        model_id: str,
        detection: Session,
        orientation: Session,
        recognition: Session,
        further: Sequence[Session] = (),
        scripts: Session | None = None,
        reader: ImageReader,
        files: Sequence[Path] = (),
        options: QueueOptions | None = None,
    ) -> None:
        self.model_id = model_id
        self._prepare = exclusive_when_heavy(_page, reader)
        self._files = tuple(files)
        self._options = options = options or QueueOptions()
        self._sessions = (detection, orientation, recognition, *further)
        self._classifier = scripts
        self.runtime = detection.runtime
        self.device = detection.device
        self.precisions = tuple(dict.fromkeys(session.precision for session in self._sessions))
        find, turn = LineDetector(detection), Orienter(orientation)
        recognisers = [LineRecogniser(session) for session in (recognition, *further)]
        self._scripts = tuple(
            dict.fromkeys(script for reader in recognisers for script in reader.scripts)
        )
        read = LineReader(recognisers, None if scripts is None else ScriptClassifier(scripts))
        self._key = read.key
        # A page has a size of its own: two of them seldom fit into one batch.
        self._pages = BatchQueue[Page, PageLines](
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
        self._recognition: BatchQueue[Pixels, LineReading] = self._for_lines(
            read, recognition, "ocr-recognition"
        )
        self._work: SingleFlightCache[tuple[Line, ...]] = SingleFlightCache(
            options.cache_entries, weigh=_lines_of
        )
        self._idle = IdleTrim(trim=self.release_memory)

    @property
    def queues(self) -> tuple[BatchQueue[Any, Any], ...]:
        """Detection of pages, orientation and recognition of lines."""
        return (self._pages, self._orientation, self._recognition)

    @property
    def fallback(self) -> str:
        """Reason why it doesn't run on the device asked for; empty where it does."""
        return fallback_of(*self._sessions)

    @property
    def cache_statistics(self) -> Mapping[str, SharedStatistics]:
        """Statistics of texts that were read once for several requests."""
        return {"ocr": self._work.statistics()}

    @property
    def metadata(self) -> Mapping[str, str]:
        """Further facts about the model."""
        return {"provider": self._sessions[0].provider, "scripts": ", ".join(self._scripts)}

    async def read(
        self,
        file: ImagePayload,
        *,
        min_confidence: float = parameters.TEXT_SCORE,
        context: RequestContext = NO_CONTEXT,
    ) -> list[Line]:
        """Read the text lines of a picture, from top to bottom and left to right.

        Lines with less than ``min_confidence`` (0 to 1), and those that turn out to say
        nothing, are left out; no line at all is an empty list. Raises as ``read_all``.
        """
        lines = await self.read_all(file, context)
        return [line for line in lines if line.is_read(min_confidence)]

    async def read_all(
        self, file: ImagePayload, context: RequestContext = NO_CONTEXT
    ) -> tuple[Line, ...]:
        """Read every line of a picture, however uncertain, and if it says nothing.

        Raises InvalidInput for anything but a picture, ModelFailed, and what a batch queue
        raises.
        """
        handle = QueueHandle()

        def read() -> Awaitable[tuple[Line, ...]]:
            return self._read(file, context, handle)

        if not self._options.cache_entries.value:
            return await read()
        return await self._work.get(
            await key_of(file),
            read,
            handle=handle,
            inherit_priority=lambda other: self._pages.inherit_priority(other, context),
        )

    async def _read(
        self, file: ImagePayload, context: RequestContext, handle: QueueHandle
    ) -> tuple[Line, ...]:
        looking = self._pages.passing(file, self._prepare, context=context, handle=handle)
        with self._idle.busy():
            async with looking as found:
                readings = await self.read_lines(found.lines, context)
        return tuple(
            Line(box, reading.text, reading.confidence)
            for box, reading in zip(found.boxes, readings, strict=True)
        )

    async def read_lines(
        self, lines: Sequence[Pixels], context: RequestContext = NO_CONTEXT
    ) -> list[LineReading]:
        """Read lines of any size, in order; each BGR (height, width, 3), uint8.

        A line that stands on its head is read the other way round. Raises ModelFailed, and
        what a batch queue raises.
        """
        if not lines:
            return []

        def recognise(lines: Sequence[Pixels]) -> Awaitable[list[LineReading]]:
            return read_again(lines, lambda lines: self._recognise(lines, context))

        return await read_either_way(
            lines, recognise, upside_down=await self._stand_on_heads(lines, context)
        )

    async def _stand_on_heads(self, lines: Sequence[Pixels], context: RequestContext) -> bool:
        """Guess whether most lines of a page stand on their heads."""
        asked = [(line, None) for line in lines_for_orientation(lines)]
        guesses = await self._orientation.submit_all(asked, context=context) if asked else []
        return sum(guesses) > parameters.UPSIDE_DOWN_SHARE * len(asked)

    async def _recognise(
        self, upright: Sequence[Pixels], context: RequestContext
    ) -> list[LineReading]:
        widths = [padded_width(line) for line in upright]
        # Longest first: none is left for the end, when the other cores have nothing to do.
        order = sorted(range(len(upright)), key=widths.__getitem__, reverse=True)
        readings = await self._recognition.submit_all(
            [(upright[index], self._key(upright[index])) for index in order], context=context
        )
        in_order = dict(zip(order, readings, strict=True))
        return [in_order[index] for index in range(len(upright))]

    def _for_lines(
        self, run: Callable[[Any], Any], session: Session, name: str
    ) -> BatchQueue[Any, Any]:
        options = self._options
        return BatchQueue(
            run,
            name=name,
            max_batch=session.batch_sizes.limit(options.first_batch),
            capacity=_LINES,
            sizes=session.batch_sizes.fixed,
            # The lines of a page come all at once, and none of them ever comes back: the
            # last round says nothing of who is about.
            max_delay=0,
        )

    async def warm_up(self) -> None:
        """Try the models of lines; how long batches take is known, or measured later.

        Raises ModelFailed where they don't work.
        """
        # Pages aren't measured: they run one at a time in any case.
        _, orientation, recognition, *_ = self._sessions
        with self._idle.busy():
            await self._tune(self._orientation, orientation)
            await self._tune(self._recognition, recognition)

    async def _tune(self, queue: BatchQueue[Any, Any], session: Session) -> None:
        line = np.zeros(_LINE, np.uint8)
        await queue.submit(line)
        await tune_session(
            queue,
            line,
            session,
            model_id=self.model_id,
            files=self._files,
            shape=_LINE,
            options=self._options,
            largest=MOST_LINES,
        )

    def release_memory(self) -> None:
        """Give memory that is kept from page to page back to the system; blocking."""
        sizes = [_SMALLEST_PAGE, parameters.CLS_IMAGE_SHAPE]
        sizes += [_SMALLEST_LINE] * (len(self._sessions) - len(sizes))
        for session, size in zip(self._sessions, sizes, strict=True):
            nothing = np.zeros((session.batch_sizes.limit(1), *size), np.float32)
            with suppress(HearthError):  # closed meanwhile
                release_memory(session, {session.inputs[0].name: nothing})
        trim_memory()

    def close(self) -> None:
        """End the queues and free the sessions."""
        self._idle.close()
        for queue in self.queues:
            queue.close()
        for session in filter(None, (*self._sessions, self._classifier)):
            session.close()


def _page(reader: ImageReader, file: ImagePayload) -> Page:
    """Prepare a picture as detection takes it; blocking. Raises as the reader does."""
    if isinstance(file, Picture):
        return page_of(file.decode(reader, PixelForm.READABLE))
    return page_of(reader.pixels(file, PixelForm.READABLE))


def _lines_of(page: Sequence[Line]) -> int:
    """Count a page's lines for the cache, where a line takes about as much as a vector."""
    return max(1, len(page))
