"""Who reads a line: of several recognisers, the one that can write its script."""

from collections.abc import Sequence

import numpy as np

from hearth.backends import Array
from hearth.errors import ModelFailed
from hearth.media.raw import Pixels
from hearth.models.ocr import parameters as p
from hearth.models.ocr.recognition import Reading, Recogniser, batch_of, padded_width
from hearth.models.ocr.scripts import ScriptClassifier

CLEAR = 0.8
"""Share of a line's letters that a recogniser can write, from which on it alone reads the line."""

UNWRITABLE = 0.5
"""Share that can't be written, from which on a reading loses confidence."""

_WORTH_TRYING = 0.3
"""Share from which on a second recogniser reads a line that is clear to none."""


class LineReader:
    """Lines of one padded width to their texts, each read by a recogniser for its script.

    A line that is clear to one recogniser is read by it, the first of them where it is clear to
    several; any other line by the likeliest, or by the two likeliest, and the surer reading is
    kept. What more than half of a line's letters can't be written with comes with the confidence
    that the share of the others allows: less than 0.5.
    """

    def __init__(
        self, recognisers: Sequence[Recogniser], classifier: ScriptClassifier | None
    ) -> None:
        """``recognisers``: at least one, the preferred first. Without a classifier it reads all."""
        self._recognisers = tuple(recognisers)
        self._classifier = classifier

    def __call__(self, lines: Sequence[Pixels]) -> list[Reading | ModelFailed]:
        """What each line says; each BGR (height, width, 3), uint8."""
        width = padded_width(lines[0])
        at_once = max(1, p.WIDEST_BATCH // width)
        readings: list[Reading | ModelFailed] = []
        for start in range(0, len(lines), at_once):
            readings += self._read(batch_of(lines[start : start + at_once], width))
        return readings

    def _read(self, batch: Array) -> list[Reading | ModelFailed]:
        if self._classifier is None:
            return self._recognisers[0].read(batch)
        shares = self._classifier(batch)
        columns = [self._classifier.writable(reader.scripts) for reader in self._recognisers]
        writable = np.stack([shares[:, mask].sum(1) for mask in columns], 1)
        chosen = [_readers_of(row) for row in writable]
        best: list[Reading | ModelFailed | None] = [None] * len(batch)
        for index, reader in enumerate(self._recognisers):
            rows = [row for row, readers in enumerate(chosen) if index in readers]
            if not rows:
                continue
            part = batch if len(rows) == len(batch) else batch[rows]
            for row, reading in zip(rows, reader.read(part), strict=True):
                best[row] = _surer(best[row], _weighed(reading, float(writable[row, index])))
        return [reading for reading in best if reading is not None]


def _readers_of(writable: Array) -> tuple[int, ...]:
    """Which recognisers read a line, by the shares of its letters that they can write."""
    clear = np.flatnonzero(writable >= CLEAR)
    if len(clear):
        return (int(clear[0]),)
    # Stable: of equals, the one that is preferred.
    first, *others = np.argsort(-writable, kind="stable").tolist()
    seconds = [other for other in others[:1] if writable[other] >= _WORTH_TRYING]
    return (first, *seconds)


def _weighed(reading: Reading | ModelFailed, writable: float) -> Reading | ModelFailed:
    if isinstance(reading, ModelFailed) or writable > 1 - UNWRITABLE:
        return reading
    return Reading(reading.text, reading.confidence * max(0.0, writable))


def _surer(
    one: Reading | ModelFailed | None, other: Reading | ModelFailed
) -> Reading | ModelFailed:
    if one is None or isinstance(one, ModelFailed):
        return other
    if isinstance(other, ModelFailed) or one.confidence >= other.confidence:
        return one
    return other
