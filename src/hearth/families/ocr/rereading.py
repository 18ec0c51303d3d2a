"""Lines with a doubtful letter, read again at other widths.

Recognition looks at every eighth column of a line. Where a letter falls between two of them it is
seen twice or not at all (mattrer, walet), with little confidence, in a line that is sure otherwise.
"""

from collections.abc import Awaitable, Callable, Sequence

import cv2

from hearth.families.ocr import parameters as p
from hearth.families.ocr.recognition import LineReading
from hearth.media.raw import Pixels


async def read_again(
    lines: Sequence[Pixels],
    recognise: Callable[[Sequence[Pixels]], Awaitable[Sequence[LineReading]]],
) -> list[LineReading]:
    """Read lines, and small ones with a doubtful letter again, wider: the surer letter decides.

    What is doubtful in both is read at one width more. Lines are BGR (height, width, 3), uint8.
    Raises what ``recognise`` raises.
    """
    readings = list(await recognise(lines))
    for stretch in p.STRETCHES:
        doubtful = [
            number
            for number, (line, reading) in enumerate(zip(lines, readings, strict=True))
            if len(line) <= p.SMALL and _is_doubtful(reading)
        ]
        if not doubtful:
            break
        others = await recognise([_stretched(lines[number], stretch) for number in doubtful])
        for number, other in zip(doubtful, others, strict=True):
            if other.confidence >= p.SURE:
                readings[number] = max(readings[number], other, key=lambda one: one.least)
    return readings


def _is_doubtful(reading: LineReading) -> bool:
    return reading.confidence >= p.SURE and reading.least < p.DOUBTFUL


def _stretched(line: Pixels, stretch: float) -> Pixels:
    height, width = line.shape[:2]
    wider: Pixels = cv2.resize(
        line, (max(width + 1, round(width * stretch)), height), interpolation=cv2.INTER_CUBIC
    )
    return wider
