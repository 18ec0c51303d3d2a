"""The third step of reading: what a line says."""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rapidocr.ch_ppocr_rec.main import TextRecognizer
from rapidocr.ch_ppocr_rec.utils import CTCLabelDecode

from hearth.backends import Array, Session
from hearth.errors import ModelFailed, ModelUnavailable
from hearth.families.ocr import parameters as p
from hearth.families.ocr.outputs import finite_rows, run_one
from hearth.families.ocr.scripts import scripts_of
from hearth.graphs.best_class import CLASSES
from hearth.media.raw import Pixels


class LineReading(NamedTuple):
    """Text of a line as it was read."""

    text: str
    confidence: float
    """0 to 1: the mean over the characters."""
    least: float = 1
    """0 to 1: the confidence of the least sure character."""


class Draft(NamedTuple):
    """Text of a line as one recogniser reads it."""

    text: str
    confidence: float
    """0 to 1: the mean over the characters."""
    letters: Array
    """Bool (columns): from left to right, where there is a character that is no space."""
    least: float
    """0 to 1: the confidence of the least sure character."""


class LineRecogniser:
    """Lines to their texts; ``session`` takes (n, 3, 48, width) and carries its alphabet.

    The alphabet stands in the graph's metadata, ``character``, a character on each line. It answers
    with a number for each character, or with the best one and its number where the graph chooses
    (see ``graphs.best_class``): (n, positions, characters or 2). Raises ModelUnavailable where
    there is no alphabet, or none that fits what the graph answers.
    """

    def __init__(self, session: Session) -> None:
        characters = alphabet_of(session)
        self.scripts = scripts_of(characters)
        self.session = session
        _require_classes(session, len(characters))
        # Adds the blank in front, and a space behind.
        self._decode = CTCLabelDecode(character=characters)

    def read(self, batch: Array) -> list[Draft | ModelFailed]:
        """Read each line; ``batch`` is float32 (n, 3, 48, width), see ``batch_of``."""
        at_once = self.session.batch_sizes.limit(len(batch))
        drafts: list[Draft | ModelFailed] = []
        for start in range(0, len(batch), at_once):
            part = batch[start : start + at_once]
            # Where a graph runs one size alone, the rest of it is filled up.
            full = np.concatenate([part, np.repeat(part[-1:], at_once - len(part), 0)])
            numbers = run_one(self.session, full)[: len(part)]
            drafts += finite_rows(numbers, "recognition", self._drafts)
        return drafts

    def _drafts(self, numbers: Array) -> list[Draft]:
        """Decode what the graph answers for each line and column."""
        if CLASSES in self.session.metadata:
            best, sure = numbers[..., 0].astype(np.int64), numbers[..., 1]
        else:
            best, sure = numbers.argmax(2), numbers.max(2)
        texts, _ = self._decode.decode(best, sure, remove_duplicate=True)
        # The blank is the first, the space the last.
        letters = (best != 0) & (best != len(self._decode.character) - 1)
        # As in decoding, a character counts where it begins.
        begins = (best != 0) & (np.diff(best, axis=1, prepend=0) != 0)
        least = np.where(begins, sure, 1).min(1)
        return [
            Draft(in_logical_order(text), float(confidence), row, float(unsure))
            for (text, confidence), row, unsure in zip(texts, letters, least, strict=True)
        ]


def alphabet_of(session: Session) -> list[str]:
    """Read the characters that a recognition graph can write; raises ModelUnavailable."""
    listed = session.metadata.get("character")
    if not listed:
        raise ModelUnavailable("the text recognition model carries no list of characters")
    # Not splitlines: some of the characters are line breaks to Unicode.
    return listed.removesuffix("\n").split("\n")


def require_lines(session: Session) -> None:
    """Refuse a graph that doesn't take lines as PP-OCR's recognisers do: ModelUnavailable."""
    channels, flat, _ = p.REC_IMAGE_SHAPE
    specs = session.inputs
    one = specs[0] if len(specs) == len(session.outputs) == 1 else None
    if one is None or one.dtype != np.float32 or len(one.shape) != 4 or one.shape[3] is not None:
        fits = False
    else:
        sizes = zip(one.shape[1:3], (channels, flat), strict=True)
        fits = all(size in (None, wanted) for size, wanted in sizes)
    if not fits:
        raise ModelUnavailable(
            "it isn't a text recognition graph of PP-OCR: these take lines, float32 (n, 3, 48, "
            "width) of any width, and answer with one tensor"
        )


def _require_classes(session: Session, characters: int) -> None:
    """Refuse an alphabet of another graph: each letter would be read as another."""
    chosen_from = session.metadata.get(CLASSES)
    classes = session.outputs[0].shape[-1] if chosen_from is None else int(chosen_from)
    if classes is None:  # only a run tells
        _, flat, least = p.REC_IMAGE_SHAPE
        size = session.batch_sizes.limit(1)
        classes = run_one(session, np.zeros((size, 3, flat, least), np.float32)).shape[-1]
    # With a blank, and with a space or without.
    if classes not in (characters + 1, characters + 2):
        raise ModelUnavailable(
            f"the text recognition model tells {classes} characters apart, but its list has "
            f"{characters}: the list is another model's"
        )


_shaper = TextRecognizer.__new__(TextRecognizer)
_shaper.rec_image_shape = list(p.REC_IMAGE_SHAPE)


def batch_of(lines: Sequence[Pixels], width: int) -> Array:
    """Stack lines as recognition takes them, padded to a width: float32 (n, 3, 48, width)."""
    # rapidocr takes the ratio of width to height; half a pixel keeps its rounding down
    # from losing one.
    ratio = (width + 0.5) / p.REC_IMAGE_SHAPE[1]
    return np.stack([_shaper.resize_norm_img(line, ratio) for line in lines])


_RIGHT_TO_LEFT = re.compile(r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]")
_LEFT_TO_RIGHT = re.compile(r"[A-Za-z0-9]+(?:[ .,:/*%+@_-]+[A-Za-z0-9]+)*")


def in_logical_order(text: str) -> str:
    """Put a text that was read from left to right into the order in which it is spoken and stored.

    Arabic and Hebrew come the wrong way round, their numbers and Latin words don't: PP-OCR's
    own decoding turns them likewise.
    """
    if not _RIGHT_TO_LEFT.search(text):
        return text
    return _LEFT_TO_RIGHT.sub(lambda run: run[0][::-1], text[::-1])


def padded_width(line: Pixels) -> int:
    """Count the pixels of a line's width at a height of 48, rounded up for recognition."""
    height, width = line.shape[:2]
    steps = math.ceil(math.ceil(p.REC_IMAGE_SHAPE[1] * width / height) / p.WIDTH_STEP)
    return max(p.LEAST_WIDTH, int(steps) * p.WIDTH_STEP)
