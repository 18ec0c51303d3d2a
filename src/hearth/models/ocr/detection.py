"""The first step of reading: find the lines of a page."""

from collections.abc import Sequence
from typing import NamedTuple

from rapidocr.ch_ppocr_det.main import TextDetector
from rapidocr.ch_ppocr_det.utils import DBPostProcess, DetPreProcess
from rapidocr.utils.process_img import get_rotate_crop_image

from hearth.backends import Array, Session
from hearth.errors import ModelFailed
from hearth.media.raw import Pixels
from hearth.models.ocr import parameters as p
from hearth.models.ocr.outputs import finite_rows, run_one
from hearth.models.ocr.page import Page, Polygon, polygons


class Found(NamedTuple):
    """The lines of a page in reading order."""

    boxes: list[Polygon]
    """Where they stand in the image that was sent."""
    lines: list[Pixels]
    """Each line cut out and laid flat: BGR, (height, width, 3)."""


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
        heat = run_one(self._session, self._prepare(page.pixels))
        [found] = finite_rows(heat, "detection", lambda heat: [self._find(page, heat)])
        return found

    def _find(self, page: Page, heat: Array) -> Found:
        pixels = page.pixels
        boxes, _ = self._boxes(heat, pixels.shape[:2])
        if not len(boxes):
            return Found([], [])
        boxes = TextDetector.sorted_boxes(boxes)
        lines = [get_rotate_crop_image(pixels, box.copy()) for box in boxes]
        return Found(polygons(page, boxes), lines)
