"""Which way up lines stand: the model's guess for a page, and what reading shows.

The model is asked of a few lines of a page, for where to begin: of single lines it is wrong too
often (it turns 26 of 183 good ones round; 39 of 61 on a page of long lines). What counts is how
surely a line is read: upright at 0.97 and more, upside down at 0.52 to 0.78 (measured). So
lines that are read poorly are read the other way round as well.
"""

from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from rapidocr.ch_ppocr_cls.main import TextClassifier
from rapidocr.ch_ppocr_cls.utils import ClsPostProcess

from hearth.backends import Array, Session
from hearth.errors import ModelFailed
from hearth.families.ocr import parameters as p
from hearth.families.ocr.outputs import finite_rows, run_one
from hearth.families.ocr.recognition import LineReading
from hearth.media.raw import Pixels


class Orienter:
    """Lines to whether they stand on their heads; ``session`` takes (n, 3, 48, 192)."""

    def __init__(self, session: Session) -> None:
        self._session = session
        # Only its method is wanted: its constructor would open a session of its own.
        self._shaper = TextClassifier.__new__(TextClassifier)
        self._shaper.cls_image_shape = list(p.CLS_IMAGE_SHAPE)
        self._labels = ClsPostProcess(list(p.CLS_LABELS))

    def __call__(self, lines: Sequence[Pixels]) -> list[bool | ModelFailed]:
        """Guess whether each line is to be turned by 180 degrees."""
        batch = np.stack([self._shaper.resize_norm_img(middle(line)) for line in lines])
        return finite_rows(run_one(self._session, batch), "orientation", self._upside_down)

    def _upside_down(self, scores: Array) -> list[bool]:
        labels = self._labels(scores)
        return [label == "180" and score > p.CLS_THRESH for label, score in labels]


def middle(line: Pixels) -> Pixels:
    """Cut the middle out of a line that is longer than the model takes: it would be squeezed."""
    height, width = line.shape[:2]
    _, flat, wide = p.CLS_IMAGE_SHAPE
    longest = height * wide // flat
    left = max(0, (width - longest) // 2)
    return line[:, left : left + longest] if width > longest else line


def lines_for_orientation(lines: Sequence[Pixels]) -> list[Pixels]:
    """Choose the lines that tell best which way up a page stands; none where few would.

    Short ones may read either way: 96, SOS.
    """
    long = [line for line in lines if line.shape[1] >= p.ORIENTATION_RATIO * line.shape[0]]
    if len(long) < p.LEAST_ORIENTATION_LINES:
        return []
    step = max(1, len(long) // p.MOST_ORIENTATION_LINES)
    return long[::step][: p.MOST_ORIENTATION_LINES]


async def read_either_way(
    lines: Sequence[Pixels],
    recognise: Callable[[Sequence[Pixels]], Awaitable[Sequence[LineReading]]],
    *,
    upside_down: bool,
) -> list[LineReading]:
    """Read lines the right way up; ``upside_down``: most of them stand on their heads.

    Lines that are read poorly are read the other way round as well, and those that read
    either way (96) go with most of the others. Raises what ``recognise`` raises.
    """
    first = [rotate_half(line) for line in lines] if upside_down else lines
    readings = list(await recognise(first))
    poor = [number for number, reading in enumerate(readings) if reading.confidence < p.SURE]
    others = await recognise([rotate_half(first[number]) for number in poor]) if poor else []
    better = {
        number: other
        for number, other in zip(poor, others, strict=True)
        if _is_surer(other, readings[number])
    }
    for number, other in better.items():
        readings[number] = other
    if 2 * sum(len(other.text) for other in better.values()) > sum(len(r.text) for r in readings):
        rest = [number for number in range(len(lines)) if number not in better]
        for number, other in zip(
            rest, await recognise([rotate_half(first[number]) for number in rest]) if rest else [],
            strict=True,
        ):  # fmt: skip
            if other.confidence >= p.SURE:
                readings[number] = other
    return readings


def _is_surer(other: LineReading, reading: LineReading) -> bool:
    """Tell whether the other way round is the right one."""
    if reading.confidence < p.DISBELIEVED:
        return other.confidence >= p.SURE
    return other.confidence > reading.confidence + p.SURER


def rotate_half(line: Pixels) -> Pixels:
    """Turn a line (height, width, 3) by 180 degrees."""
    return np.ascontiguousarray(line[::-1, ::-1])
