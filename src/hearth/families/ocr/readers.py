"""Who reads a line: of several recognisers, the one that can write its script.

The classifier alone isn't sure enough to leave a line out. What a recogniser makes of a script that
it can't write bears witness as well: it is less confident, passes over a part of the ink, or writes
letters that it has a few of, as those of Greek.
"""

from collections.abc import Sequence

import numpy as np

from hearth.backends import Array
from hearth.backends.parallel import ParallelSession
from hearth.errors import ModelFailed
from hearth.families.ocr import parameters as p
from hearth.families.ocr.recognition import (
    Draft,
    LineReading,
    LineRecogniser,
    batch_of,
    padded_width,
)
from hearth.families.ocr.scripts import ScriptClassifier, stray_share
from hearth.media.raw import Pixels

CLEAR_SHARE = 0.8
"""Share of a line's letters that a recogniser can write, from which on it is asked first."""

SUSPECT = 0.5
"""Share of letters that can't be written, from which on a reading may be disbelieved."""

_REACH = 20
"""Pixels of a line 48 high to either side of a letter's middle that the letter stands for."""

_INK = 0.4
"""Share of the line's contrast that a pixel must have to be ink."""

_ROWS = 8
"""Rows of 48 with ink that a column of pixels must have to be a letter's."""


class LineReader:
    """Lines to their texts, each read by a recogniser for its script.

    The first recogniser that can clearly write a line reads it, or the likeliest one. Where that
    leaves doubt and there are others, the likeliest of these reads it as well, and the surer
    reading is kept. A reading that isn't believed comes with a confidence of 0.25 at most.
    """

    def __init__(
        self, recognisers: Sequence[LineRecogniser], classifier: ScriptClassifier | None
    ) -> None:
        """``recognisers``: the preferred first. Without a classifier it reads, and is believed."""
        self._recognisers = tuple(recognisers)
        self._classifier = classifier
        session = self._recognisers[0].session
        self._side_by_side = session if isinstance(session, ParallelSession) else None

    def key(self, line: Pixels) -> int | None:
        """Name what lines must share to be read together; None: nothing.

        Each has a run of its own where runs go side by side.
        """
        return padded_width(line) if self._side_by_side is None else None

    def __call__(self, lines: Sequence[Pixels]) -> list[LineReading | ModelFailed]:
        """Read lines of one ``key``; each BGR (height, width, 3), uint8."""
        if self._side_by_side is not None:
            readings = self._side_by_side.map(lambda line: self._read_together([line]), lines)
            return [reading for [reading] in readings]
        at_once = max(1, p.WIDEST_BATCH // padded_width(lines[0]))
        parts = [lines[start : start + at_once] for start in range(0, len(lines), at_once)]
        return [reading for part in parts for reading in self._read_together(part)]

    def _read_together(self, lines: Sequence[Pixels]) -> list[LineReading | ModelFailed]:
        return self._read(batch_of(lines, padded_width(lines[0])))

    def _read(self, batch: Array) -> list[LineReading | ModelFailed]:
        if self._classifier is None:
            drafts = self._recognisers[0].read(batch)
            return [
                d if isinstance(d, ModelFailed) else LineReading(d.text, d.confidence, d.least)
                for d in drafts
            ]
        shares = self._classifier(batch)
        columns = [self._classifier.writable(reader.scripts) for reader in self._recognisers]
        writable = np.stack([shares[:, mask].sum(1) for mask in columns], 1)
        readings: list[LineReading | ModelFailed] = [ModelFailed("not read")] * len(batch)
        asked = _first_asked(writable)
        self._ask(asked, batch, writable, readings)
        if len(self._recognisers) > 1:
            others = writable.copy()
            others[np.arange(len(batch)), asked] = -1
            second = np.where([_is_unsure(reading) for reading in readings], others.argmax(1), -1)
            self._ask(second, batch, writable, readings)
        return readings

    def _ask(
        self, asked: Array, batch: Array, writable: Array, readings: list[LineReading | ModelFailed]
    ) -> None:
        """Have each line read by the recogniser of its number; -1: by none. Keeps the surer."""
        for index, recogniser in enumerate(self._recognisers):
            rows = np.flatnonzero(asked == index)
            if not len(rows):
                continue
            drafts = recogniser.read(batch if len(rows) == len(batch) else batch[rows])
            for row, draft in zip(rows.tolist(), drafts, strict=True):
                unwritable = 1 - float(writable[row, index])
                reading = believed(draft, batch[row], unwritable, recogniser.scripts)
                if _confidence(reading) >= _confidence(readings[row]):
                    readings[row] = reading


def _first_asked(writable: Array) -> Array:
    """Choose for each line the first recogniser it is clear to, else the likeliest: (n)."""
    clear = writable >= CLEAR_SHARE
    asked: Array = np.where(clear.any(1), clear.argmax(1), writable.argmax(1))
    return asked


def _is_unsure(reading: LineReading | ModelFailed) -> bool:
    return isinstance(reading, LineReading) and reading.confidence < p.TEXT_SCORE


def _confidence(reading: LineReading | ModelFailed) -> float:
    return reading.confidence if isinstance(reading, LineReading) else 0


def believed(
    draft: Draft | ModelFailed, line: Array, unwritable: float, scripts: Sequence[str]
) -> LineReading | ModelFailed:
    """Lower a reading's confidence to what it deserves.

    It is 0 where nothing but spaces was read. A reading isn't believed where more of the line
    can't be written than the reading is sure of, after what it leaves out.
    ``tools/train_scripts.py`` measures how often that is wrong.
    """
    if isinstance(draft, ModelFailed):
        return draft
    confidence = draft.confidence if draft.text.strip() else 0.0
    if unwritable >= SUSPECT:
        left_out = max(unread_share(line, draft.letters), stray_share(draft.text, scripts))
        if unwritable >= confidence - left_out:
            confidence *= max(0.0, 1 - unwritable - left_out)
    return LineReading(draft.text, confidence, draft.least)


def unread_share(line: Array, letters: Array) -> float:
    """Measure the share of a line's ink that is far from any letter that was read: 0 to 1.

    ``line`` is float32 (3, 48, width); ``letters`` bool (columns), where one was read.
    """
    grey = line.mean(0)
    contrast = np.abs(grey - np.median(grey))
    rows = (contrast > _INK * contrast.max()).sum(0)
    ink = np.flatnonzero(np.ptp(grey, axis=0) > _INK * np.ptp(grey))
    if not letters.any():
        return 1.0
    middles = (np.flatnonzero(letters) + 0.5) * (line.shape[-1] / len(letters))
    nearest = np.abs(ink[:, None] - middles[None]).min(1)
    # Rules, dashes and dots are left out with good reason: letters have more ink.
    unread = (nearest > _REACH) & (rows[ink] >= _ROWS)
    return float(unread.mean()) if len(ink) else 0.0
