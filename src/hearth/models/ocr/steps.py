"""The three steps of reading: find the lines, turn them upright, recognise them.

Each step is a callable for one batch queue: our session between rapidocr's own
pre- and post-processing. Where a model's numbers for an item aren't finite, the item's
answer is a ModelFailed: rapidocr would find nothing there, and say nothing of it.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from rapidocr.ch_ppocr_cls.main import TextClassifier
from rapidocr.ch_ppocr_cls.utils import ClsPostProcess
from rapidocr.ch_ppocr_det.main import TextDetector
from rapidocr.ch_ppocr_det.utils import DBPostProcess, DetPreProcess
from rapidocr.ch_ppocr_rec.main import TextRecognizer
from rapidocr.ch_ppocr_rec.utils import CTCLabelDecode
from rapidocr.utils.process_img import get_rotate_crop_image

from hearth.backends import Array, Session
from hearth.errors import ModelFailed, ModelUnavailable
from hearth.media.raw import Pixels
from hearth.models.ocr import parameters as p
from hearth.models.ocr.page import Page, Polygon, polygons

Answer = TypeVar("Answer")


class Found(NamedTuple):
    """The lines of a page in reading order."""

    boxes: list[Polygon]
    """Where they stand in the image that was sent."""
    lines: list[Pixels]
    """Each line cut out and laid flat: BGR, (height, width, 3)."""


class Reading(NamedTuple):
    """What a line says."""

    text: str
    confidence: float
    """0 to 1: the mean over the characters."""


class Detector:
    """Pages to the lines on them; ``session`` takes (1, 3, height, width)."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._prepare = DetPreProcess(
            p.DET_LIMIT_SIDE_LEN, p.DET_LIMIT_TYPE, list(p.DET_MEAN), list(p.DET_STD)
        )
        self._boxes = DBPostProcess(
            thresh=p.DET_THRESH,
            box_thresh=p.DET_BOX_THRESH,
            max_candidates=p.DET_MAX_CANDIDATES,
            unclip_ratio=p.DET_UNCLIP_RATIO,
            use_dilation=p.DET_USE_DILATION,
            score_mode=p.DET_SCORE_MODE,
        )

    def __call__(self, pages: Sequence[Page]) -> list[Found | ModelFailed]:
        """The lines of each page."""
        return [self._look(page) for page in pages]

    def _look(self, page: Page) -> Found | ModelFailed:
        heat = _run(self._session, self._prepare(page.pixels))
        [found] = _finite(heat, "detection", lambda heat: [self._find(page, heat)])
        return found

    def _find(self, page: Page, heat: Array) -> Found:
        pixels = page.pixels
        boxes, _ = self._boxes(heat, pixels.shape[:2])
        if not len(boxes):
            return Found([], [])
        boxes = TextDetector.sorted_boxes(boxes)
        lines = [get_rotate_crop_image(pixels, box.copy()) for box in boxes]
        return Found(polygons(page, boxes), lines)


class Orienter:
    """Lines to whether they stand on their heads; ``session`` takes (n, 3, 48, 192)."""

    def __init__(self, session: Session) -> None:
        self._session = session
        # Only its method is wanted: its constructor would open a session of its own.
        self._shaper = TextClassifier.__new__(TextClassifier)
        self._shaper.cls_image_shape = list(p.CLS_IMAGE_SHAPE)
        self._labels = ClsPostProcess(list(p.CLS_LABELS))

    def __call__(self, lines: Sequence[Pixels]) -> list[bool | ModelFailed]:
        """Whether each line is to be turned by 180 degrees."""
        batch = np.stack([self._shaper.resize_norm_img(line) for line in lines])
        return _finite(_run(self._session, batch), "orientation", self._upside_down)

    def _upside_down(self, scores: Array) -> list[bool]:
        labels = self._labels(scores)
        return [label == "180" and score > p.CLS_THRESH for label, score in labels]


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
        return _finite(_run(self._session, batch), "recognition", self._texts)

    def _texts(self, characters: Array) -> list[Reading]:
        texts, _ = self._decode(characters)
        return [Reading(text, float(confidence)) for text, confidence in texts]


def padded_width(line: Pixels) -> int:
    """How wide a line is for recognition: 48 pixels high, its width rounded up."""
    height, width = line.shape[:2]
    _, flat, least = p.REC_IMAGE_SHAPE
    steps = math.ceil(math.ceil(flat * width / height) / p.WIDTH_STEP)
    return max(least, int(steps) * p.WIDTH_STEP)


def _run(session: Session, batch: Array) -> Array:
    [answer] = session.run({session.inputs[0].name: batch}).values()
    return answer


def _finite(
    numbers: Array, model: str, read: Callable[[Array], Sequence[Answer]]
) -> list[Answer | ModelFailed]:
    """What is ``read`` of the rows of a model's ``numbers``, where they all are finite.

    Looking costs a percent of what recognition takes (measured).
    """
    finite = [bool(np.isfinite(row).all()) for row in numbers]
    good = numbers if all(finite) else numbers[finite]
    answers = iter(read(good) if len(good) else ())
    failure = f"the {model} model gave numbers that aren't finite"
    return [next(answers) if fine else ModelFailed(failure) for fine in finite]
