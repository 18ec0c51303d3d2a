"""The first step of reading: find the lines of a page."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hearth.backends import Session
from hearth.errors import ModelFailed
from hearth.families.ocr import parameters as p
from hearth.families.ocr.boxes import Box, Heat, in_reading_order
from hearth.families.ocr.cutting import cut_tightly
from hearth.families.ocr.outputs import run_one
from hearth.families.ocr.page import Page, Polygon, polygon
from hearth.families.ocr.scales import (
    Mask,
    ScaledPage,
    densest,
    detail_of,
    on_grid,
    overview_scale,
    tiles,
    view_at,
)
from hearth.families.ocr.search import Search
from hearth.media.raw import Pixels


class PageLines(NamedTuple):
    """The lines of a page in reading order."""

    boxes: list[Polygon]
    """Places where they stand in the image that was sent."""
    lines: list[Pixels]
    """Lines, each cut out and laid flat: BGR, (height, width, 3)."""


class LineDetector:
    """Pages to the lines on them; ``session`` takes (1, 3, height, width)."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __call__(self, pages: Sequence[Page]) -> list[PageLines | ModelFailed]:
        """Find the lines of each page."""
        return [self._look(page) for page in pages]

    def _look(self, page: Page) -> PageLines | ModelFailed:
        try:
            boxes = in_reading_order(self._find(page.pixels))
        except ModelFailed as failure:
            return failure
        return PageLines(
            [polygon(page, box.corners) for box in boxes],
            [cut_tightly(page.pixels, box.corners) for box in boxes],
        )

    def _find(self, pixels: Pixels) -> list[Box]:
        """Find boxes in the pixels of the page, from an overview to ever closer looks."""
        height, width = pixels.shape[:2]
        scale = overview_scale(width, height)
        view = view_at(pixels, scale)
        detail = detail_of(pixels, view)
        search = Search(pixels, detail.shape)
        everything = np.ones_like(detail)
        # Letters over half the picture come to pieces on the overview.
        search.take(
            self._heat(view_at(pixels, scale / p.HUGE_PRINT_SHRINK), everything),
            least=p.HUGE_PRINT_HEIGHT,
        )
        closest = min(p.CLOSEST, float((p.MOST_PIXELS / (width * height)) ** 0.5))
        heat = self._heat(view, everything)
        while True:
            closer = min(2 * view.scale, closest)
            last = closer <= view.scale
            unread = search.take(heat, least=0 if last else p.CLEAR)
            # Print that is too small for the overview may not even be faint on it.
            shown = heat if view.scale > scale or scale == 1 else None
            unclear = search.open(detail, shown, unread)
            if view.scale * p.LEAST_PRINT < p.FAINT_PRINT:
                silent = search.open(detail, None, unread)
                if self._has_print(pixels, silent):
                    unclear |= silent
            if last or not unclear.any():
                break
            view = view_at(pixels, closer)
            heat = self._heat(view, unclear)
        return search.boxes

    def _has_print(self, pixels: Pixels, silent: Mask) -> bool:
        """Tell whether samples of a page show print, where the mask says that it has detail."""
        for rows, columns in densest(silent, pixels.shape[:2]):
            sample = view_at(pixels[rows, columns], 1.0)
            heat = self._heat(sample, np.ones((1, 1), np.uint8))
            if (heat > 255 * p.DET_THRESH).mean() > p.SAMPLED_TEXT:
                return True
        return False

    def _heat(self, view: ScaledPage, wanted: Mask) -> Heat:
        """Map where text is, in the pixels of the view; nothing where nothing is wanted."""
        heat = np.zeros(view.pixels.shape[:2], np.uint8)
        for tile in tiles(view, wanted):
            rows, columns = tile.seen
            shown = on_grid(view.pixels[rows, columns])
            batch = shown[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32)
            batch = batch / np.float32(127.5) - np.float32(1)
            numbers = run_one(self._session, np.ascontiguousarray(batch))[0, 0]
            if not np.isfinite(numbers).all():
                raise ModelFailed("the detection model gave numbers that aren't finite")
            top, left = tile.part[0].start - rows.start, tile.part[1].start - columns.start
            part = heat[tile.part]
            part[:] = 255 * numbers[top : top + part.shape[0], left : left + part.shape[1]]
        return heat
