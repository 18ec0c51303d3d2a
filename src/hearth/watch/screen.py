"""The screen as a source."""

import os
import re
import time
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageGrab

from hearth.errors import InvalidInput, SetupError, one_line
from hearth.watch.frames import Frame, Source

RATE = 20.0
"""Frames a second, at most: a large screen takes some 50 ms to copy."""


class Box(NamedTuple):
    """A part of the screen, in pixels from its top left corner."""

    left: int
    top: int
    right: int
    bottom: int


class Screen(Source):
    """The whole screen, or a part of it."""

    live = True
    rate = RATE

    def __init__(self, name: str, box: Box | None) -> None:
        """Raises SetupError where there is no screen to be seen."""
        self.name = name
        self._box = box
        self._number = 0
        self._began = self._due = time.monotonic()
        self._grab()

    def read(self) -> Frame:
        time.sleep(max(0.0, self._due - time.monotonic()))
        now = time.monotonic()
        self._due = max(self._due, now - 1 / RATE) + 1 / RATE
        number, self._number = self._number, self._number + 1
        return Frame(number, now - self._began, np.asarray(self._grab()))

    def _grab(self) -> Image.Image:
        try:
            image = ImageGrab.grab(self._box)
        except Exception as error:
            # Pillow raises what its many ways to a screen raise: OSError, RuntimeError, …
            where = os.environ.get("DISPLAY")
            why = f"display {where}: {one_line(error)}" if where else "there is no display"
            raise SetupError(f"the screen can't be seen: {why}") from None
        return image.convert("RGB")


def box_of(text: str) -> Box | None:
    """What stands behind ``screen:``, such as 640x480+100+50; None for nothing.

    Raises InvalidInput.
    """
    if not text:
        return None
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})(?:\+(\d{1,5})\+(\d{1,5}))?", text)
    if not match:
        raise InvalidInput(f"screen:{text}: write the part as screen:WIDTHxHEIGHT+LEFT+TOP")
    width, height, left, top = (int(part or 0) for part in match.groups())
    return Box(left, top, left + width, top + height)
