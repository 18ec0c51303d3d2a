"""Recognition in 8 bits, where it is proved; what that is unsure of is read in full."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hearth.backends import Array, Session, release_memory
from hearth.errors import HearthError, ModelUnavailable, one_line
from hearth.families.ocr import parameters as p
from hearth.families.ocr.outputs import run_one
from hearth.families.ocr.recognition import batch_of, padded_width
from hearth.media.raw import Pixels

RIVAL = 0.35
"""Share of the best class's confidence that a position's runner-up has at least to be close: where
it would make another text, the line is read in full. Of 746 lines of the benchmark's pages 8 bits
read 2 otherwise than float32, of 700 blurred or noisy lines and random letters 78; reading in full
what is close leaves none of the former and 3 of the latter, and takes 1.5 % of the pages."""

_PROOFS = ("The quick brown fox 4711", "jumps over 13 lazy dogs.", "PACK MY BOX (5) 0.85")

_LARGEST_DIFFERENCE = 0.02
"""Mean difference of the letters' confidence, in a proof: 0.003 where 8 bits are right."""

_WORTH = 0.85
"""Share of the time of float32 that 8 bits may take at most."""


class QuantisedSession:
    """A recogniser in 8 bits before the same one in full; satisfies ``Session``, and owns both.

    See ``graphs.best_class``: the full one answers with the best class of each position and its
    confidence, (n, positions, 2), and so does this; the quick one with the two best, (n, positions,
    4). Class 0 is the blank. A line that would be another with a close runner-up (``RIVAL``) gets
    the answer of the full one.
    """

    precision = "int8"

    def __init__(self, quick: Session, full: Session) -> None:
        self._quick = quick
        self._full = full

    def __getattr__(self, name: str) -> Any:
        return getattr(self._full, name)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph, and once more for unsure lines. Raises ModelFailed, OutOfMemory."""
        [(name, ranked)] = self._quick.run(feeds).items()
        answers = ranked[..., ::2]
        # The full one may have numbers where these aren't finite.
        unsure = _is_close(ranked) | ~np.isfinite(ranked).all(axis=(1, 2))
        if unsure.any():
            [lines] = feeds.values()
            answers[unsure] = run_one(self._full, lines[unsure])
        return {name: answers}

    def release_memory(self, feeds: Mapping[str, Array]) -> None:
        """Give back the memory that runs left, where the graphs keep it."""
        for session in (self._quick, self._full):
            release_memory(session, feeds)

    def close(self) -> None:
        """Free both graphs."""
        self._quick.close()
        self._full.close()


def _is_close(ranked: Array) -> NDArray[np.bool_]:
    """Tell which lines have a close runner-up with which they would be others: bool (n).

    ``ranked`` are the two best classes of each position and their confidences: (n, positions, 4).
    """
    best, second, sure, of_second = np.moveaxis(ranked, -1, 0)
    left, right = (np.pad(best, ((0, 0), side))[:, part] for side, part in _NEIGHBOURS)
    other = (_written(left, best, right) != _written(left, second, right)).any(axis=0)
    close: NDArray[np.bool_] = (other & (of_second >= RIVAL * sure)).any(axis=1)
    return close


_NEIGHBOURS = (((1, 0), slice(None, -1)), ((0, 1), slice(1, None)))
"""Shifts by which a position's neighbours are brought beside it, the left and the right one."""


def _written(left: Array, classes: Array, right: Array) -> Array:
    """Tell which letters begin at a position and at the one after it, blanks left out: (2, …).

    Letters count once while they last, as CTC has it.
    """
    here, after = np.where(classes == left, 0, classes), np.where(right == classes, 0, right)
    return np.where(here == 0, [after, here], [here, after])


def prove_equal(quick: Session, full: Session, *, faster: bool) -> None:
    """See that a recogniser in 8 bits reads as the full one does, and with ``faster`` sooner.

    Tried on a few drawn lines, which takes about a quarter of a second; both must run on the
    calling thread. Some CPUs are inexact here (without VNNI, sums of products overflow), and some
    are slow. Raises ModelUnavailable with the reason.
    """
    spent = {quick: 0.0, full: 0.0}
    try:
        for text in _PROOFS:
            line = _drawn(text)
            batch = batch_of([line], padded_width(line))
            answers = {}
            for session in spent:
                run_one(session, batch)  # allocates
                began = time.thread_time()
                answers[session] = run_one(session, batch)[0]
                spent[session] += time.thread_time() - began
            _compare(answers[quick][:, ::2], answers[full])
    except HearthError as error:
        raise ModelUnavailable(f"in 8 bits, {one_line(error)}") from error
    if faster and spent[quick] > _WORTH * spent[full]:
        raise ModelUnavailable(
            f"8 bits take {spent[quick] / spent[full]:.2f} times as long as float32 here"
        )


def _compare(found: Array, expected: Array) -> None:
    """Compare what two graphs answer for a line, (positions, 2); raises ModelUnavailable."""
    one, other = _letters(found), _letters(expected)
    if [number for number, _ in one] != [number for number, _ in other]:
        raise ModelUnavailable("it reads other letters")
    differences = [
        abs(sure - of_other) for (_, sure), (_, of_other) in zip(one, other, strict=True)
    ]
    if not np.mean(differences or [0]) <= _LARGEST_DIFFERENCE:
        raise ModelUnavailable("it is otherwise sure of its letters")


def _letters(answer: Array) -> Sequence[tuple[int, float]]:
    """Take letters and their confidence: each where it begins, blanks left out."""
    begins = (answer[:, 0] != 0) & (np.diff(answer[:, 0], prepend=0) != 0)
    return [(int(number), float(sure)) for number, sure in answer[begins]]


def _drawn(text: str) -> Pixels:
    """Draw black letters on white: BGR (48, width, 3)."""
    height = p.REC_IMAGE_SHAPE[1]
    face, room = cv2.FONT_HERSHEY_SIMPLEX, height // 4
    (width, tall), _ = cv2.getTextSize(text, face, 1, 2)
    line: Pixels = np.full((height, width + 2 * room, 3), 255, np.uint8)
    cv2.putText(line, text, (room, (height + tall) // 2), face, 1, (0, 0, 0), 2, cv2.LINE_AA)
    return line
