"""The second step of reading: tell which lines stand on their heads."""

from collections.abc import Sequence

import numpy as np
from rapidocr.ch_ppocr_cls.main import TextClassifier
from rapidocr.ch_ppocr_cls.utils import ClsPostProcess

from hearth.backends import Array, Session
from hearth.errors import ModelFailed
from hearth.media.raw import Pixels
from hearth.models.ocr import parameters as p
from hearth.models.ocr.outputs import finite_rows, run_one


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
        return finite_rows(run_one(self._session, batch), "orientation", self._upside_down)

    def _upside_down(self, scores: Array) -> list[bool]:
        labels = self._labels(scores)
        return [label == "180" and score > p.CLS_THRESH for label, score in labels]
