"""The third step of reading: what a line says."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rapidocr.ch_ppocr_rec.main import TextRecognizer
from rapidocr.ch_ppocr_rec.utils import CTCLabelDecode

from hearth.backends import Array, Session
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
    """Lines of one padded width to their texts; ``session`` takes (n, 3, 48, width)."""

    def __init__(self, session: Session) -> None:
        characters = session.metadata.get("character")
        if not characters:
            raise ModelUnavailable("the text recognition model carries no list of characters")
        self._session = session
        self._shaper = TextRecognizer.__new__(TextRecognizer)
        self._shaper.rec_image_shape = list(p.REC_IMAGE_SHAPE)
        self._decode = CTCLabelDecode(character=characters.splitlines())

    def __call__(self, lines: Sequence[Pixels]) -> list[Reading | ModelFailed]:
        """What each line says."""
        width = padded_width(lines[0])
        at_once = max(1, p.WIDEST_BATCH // width)
        readings: list[Reading | ModelFailed] = []
        for start in range(0, len(lines), at_once):
            readings += self._recognise(lines[start : start + at_once], width)
        return readings

    def _recognise(self, lines: Sequence[Pixels], width: int) -> list[Reading | ModelFailed]:
        # rapidocr takes the ratio of width to height; half a pixel keeps its rounding down
        # from losing one.
        ratio = (width + 0.5) / p.REC_IMAGE_SHAPE[1]
        batch = np.stack([self._shaper.resize_norm_img(line, ratio) for line in lines])
        return finite_rows(run_one(self._session, batch), "recognition", self._texts)

    def _texts(self, characters: Array) -> list[Reading]:
        texts, _ = self._decode(characters)
        return [Reading(text, float(confidence)) for text, confidence in texts]


def padded_width(line: Pixels) -> int:
    """How wide a line is for recognition: 48 pixels high, its width rounded up."""
    height, width = line.shape[:2]
    _, flat, least = p.REC_IMAGE_SHAPE
    steps = math.ceil(math.ceil(flat * width / height) / p.WIDTH_STEP)
    return max(least, int(steps) * p.WIDTH_STEP)
