"""The third step of reading: what a line says."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rapidocr.ch_ppocr_rec.main import TextRecognizer
from rapidocr.ch_ppocr_rec.utils import CTCLabelDecode

from hearth.backends import Array, Session
from hearth.backends.parallel import ParallelSession
from hearth.errors import ModelFailed, ModelUnavailable
from hearth.media.raw import Pixels
from hearth.models.ocr import parameters as p
from hearth.models.ocr.outputs import finite_rows, run_one


class Reading(NamedTuple):
    """What a line says."""

    text: str
    confidence: float
    """0 to 1: the mean over the characters."""


class Recogniser:
    """Lines to their texts; ``session`` takes (n, 3, 48, width).

    It answers with a number for each character, or with the best one and its number
    (see ``graphs.best_class``): (n, positions, characters or 2).
    """

    def __init__(self, session: Session) -> None:
        characters = session.metadata.get("character")
        if not characters:
            raise ModelUnavailable("the text recognition model carries no list of characters")
        self._session = session
        self._shaper = TextRecognizer.__new__(TextRecognizer)
        self._shaper.rec_image_shape = list(p.REC_IMAGE_SHAPE)
        self._decode = CTCLabelDecode(character=characters.splitlines())

    def key(self, line: Pixels) -> int | None:
        """Name what lines must share to be read together; None: nothing.

        Each has a run of its own where runs go side by side.
        """
        return None if isinstance(self._session, ParallelSession) else padded_width(line)

    def __call__(self, lines: Sequence[Pixels]) -> list[Reading | ModelFailed]:
        """Read each line; all must have one ``key``."""
        if isinstance(self._session, ParallelSession):
            readings = self._session.map(lambda line: self._recognise([line]), lines)
            return [reading for [reading] in readings]
        at_once = max(1, p.WIDEST_BATCH // padded_width(lines[0]))
        parts = [lines[start : start + at_once] for start in range(0, len(lines), at_once)]
        return [reading for part in parts for reading in self._recognise(part)]

    def _recognise(self, lines: Sequence[Pixels]) -> list[Reading | ModelFailed]:
        # rapidocr takes the ratio of width to height; half a pixel keeps its rounding down
        # from losing one.
        ratio = (padded_width(lines[0]) + 0.5) / p.REC_IMAGE_SHAPE[1]
        batch = np.stack([self._shaper.resize_norm_img(line, ratio) for line in lines])
        return finite_rows(run_one(self._session, batch), "recognition", self._texts)

    def _texts(self, numbers: Array) -> list[Reading]:
        if numbers.shape[-1] == _BEST:
            best, sureness = numbers[..., 0].astype(np.int64), numbers[..., 1]
        else:
            best, sureness = numbers.argmax(axis=2), numbers.max(axis=2)
        texts, _ = self._decode.decode(best, sureness, remove_duplicate=True)
        return [Reading(text, float(confidence)) for text, confidence in texts]


_BEST = 2
"""Numbers for a position, where the graph chooses: a character, and how sure it is."""


def padded_width(line: Pixels) -> int:
    """Pixels that a line is wide for recognition: 48 pixels high, its width rounded up."""
    height, width = line.shape[:2]
    steps = math.ceil(math.ceil(p.REC_IMAGE_SHAPE[1] * width / height) / p.WIDTH_STEP)
    return max(p.LEAST_WIDTH, int(steps) * p.WIDTH_STEP)
