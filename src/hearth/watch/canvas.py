"""A picture to draw on, in the coordinates of the frame that was sent."""

from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hearth.media.raw import Pixels
from hearth.watch.frames import fitted
from hearth.watch.lettering import letters

Color = tuple[int, int, int]
"""Red, green, blue."""

GREEN, ORANGE, BLUE = (60, 220, 110), (255, 150, 30), (60, 170, 255)
PINK, YELLOW, PURPLE = (255, 80, 150), (255, 215, 60), (180, 120, 255)
WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (240, 60, 50)
PALETTE = (GREEN, ORANGE, BLUE, PINK, YELLOW, PURPLE)

_SHIFT = 4
"""Bits behind the point of the coordinates that OpenCV takes."""

_FARTHEST = 50_000
"""Pixels: what lies farther outside is drawn there; OpenCV's coordinates are small."""

_UNIT = 1 / 320
"""The width of a line, as a share of the picture's shorter side."""

_HEAD = 0.25
"""Length of an arrow's head, as a share of the arrow's."""

_LETTERS = 1 / 28
"""Size of letters, as a share of the picture's shorter side."""

_OF_LINE = 0.8
"""The size of letters that fill a line of text, as a share of its height."""

_PLATE = 0.8
"""Share of the ground that a plate under text hides."""

_LARGEST = 64
"""Pixels: larger letters are scaled ones."""

_SMALLEST = 11
"""Pixels: the smallest letters that can be read."""


class Canvas:
    """RGB pixels that are drawn on, all sizes relative to the picture's."""

    def __init__(self, pixels: Pixels, sent: tuple[int, int], *, mirrored: bool = False) -> None:
        """Copy the pixels; ``sent`` is width and height of the frame that answers speak of."""
        self.pixels: Pixels = np.array(pixels[:, ::-1] if mirrored else pixels, order="C")
        self.sent = sent
        self.mirrored = mirrored
        height, width = self.pixels.shape[:2]
        self._scale = np.array([width / sent[0], height / sent[1]])
        self._unit: float = max(1.0, min(width, height) * _UNIT)
        self._size = max(_SMALLEST, round(min(width, height) * _LETTERS))
        self._captions = 0

    def place(self, points: Any) -> NDArray[np.float64]:
        """Convert points (n, 2 or more) of the frame that was sent to this picture's (n, 2)."""
        placed: NDArray[np.float64] = np.asarray(points, np.float64)[:, :2] * self._scale
        if self.mirrored:
            placed[:, 0] = self.pixels.shape[1] - placed[:, 0]
        return np.clip(placed, -_FARTHEST, _FARTHEST)

    def lines(
        self, points: Any, pairs: Iterable[tuple[int, int]], color: Color, width: float = 1.0
    ) -> None:
        """Draw lines between points, by their indices."""
        places = _fixed(self.place(points))
        if strokes := [places[[first, last]] for first, last in pairs]:
            self._strokes(strokes, color, width)

    def path(
        self,
        points: Any,
        color: Color,
        *,
        closed: bool = False,
        width: float = 1.0,
        rim: bool = True,
    ) -> None:
        """Draw a line from point to point; the rim is for lines that have room around them."""
        self._strokes([_fixed(self.place(points))], color, width, closed=closed, rim=rim)

    def box(self, box: Sequence[float], color: Color, width: float = 1.0) -> None:
        """Draw a box (left, top, right, bottom)."""
        left, top, right, bottom = box
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        self.path(corners, color, closed=True, width=width)

    def dots(self, points: Any, color: Color, radius: float = 1.5) -> None:
        """Draw filled circles, their radius in widths of a line."""
        size = round(max(0.8, radius * self._unit) * (1 << _SHIFT))
        for x, y in _fixed(self.place(points)).tolist():
            cv2.circle(self.pixels, (x, y), size, color, cv2.FILLED, cv2.LINE_AA, _SHIFT)

    def ring(self, center: Sequence[float], diameter: float, color: Color) -> None:
        """Draw a circle, its diameter in pixels of the frame that was sent."""
        [(x, y)] = _fixed(self.place([center])).tolist()
        size = max(1, round(diameter / 2 * float(self._scale.mean()) * (1 << _SHIFT)))
        cv2.circle(self.pixels, (x, y), size, color, self._thickness(1), cv2.LINE_AA, _SHIFT)

    def arrow(self, start: Sequence[float], end: Sequence[float], color: Color) -> None:
        """Draw a line with a head at its end."""
        first, last = _fixed(self.place([start, end])).tolist()
        thick = self._thickness(1.4)
        for ink, more in ((BLACK, 2), (color, 0)):
            cv2.arrowedLine(self.pixels, first, last, ink, thick + more, cv2.LINE_AA, _SHIFT, _HEAD)

    def label(self, text: str, at: Sequence[float], color: Color, *, above: bool = True) -> None:
        """Write on a plate that stands on a point, or hangs from it; within the picture."""
        [(x, y)] = self.place([at])
        height = letters(text, self._size).shape[0]
        self._plate(text, round(x), round(y - height if above else y), color)

    def caption(self, text: str, color: Color = BLACK) -> None:
        """Write a line at the picture's top left, below those that stand there."""
        height = letters(text, self._size).shape[0] + 2
        self._plate(text, self._size // 2, self._size // 2 + self._captions * height, color)
        self._captions += 1

    def bar(self, text: str, share: float, color: Color) -> None:
        """Write a caption behind a bar as long as the share is large, 0 to 1."""
        height = letters(text, self._size).shape[0] + 2
        left = top = self._size // 2
        top += self._captions * height
        longest = 6 * self._size
        end = (left + round(longest * min(max(share, 0), 1)), top + height - 4)
        _shade(self.pixels[top : top + height - 3, left : left + longest], BLACK, 0.5)
        cv2.rectangle(self.pixels, (left, top), end, color, cv2.FILLED)
        self._plate(text, left + longest + self._size // 3, top, BLACK)
        self._captions += 1

    def inscribe(self, texts: Sequence[tuple[str, Any]], color: Color) -> None:
        """Write texts, each in place of what is between its four corners (4, 2).

        Corners go clockwise from the text's top left.
        """
        spots = [(text, self._spot(corners)) for text, corners in texts]
        for _, (part, corners) in spots:
            plate = np.zeros(part.shape[:2], np.float32)
            cv2.fillConvexPoly(plate, _fixed(corners), _PLATE, cv2.LINE_8, _SHIFT)
            part[:] = _blended(part, np.array(color, np.float32), plate[..., None])
        for text, (part, corners) in spots:
            size = round(float(np.linalg.norm(corners[3] - corners[0])) * _OF_LINE)
            cover = letters(text, min(max(size, _SMALLEST), _LARGEST))
            rows, columns = cover.shape
            flat = np.array([(0, 0), (columns, 0), (columns, rows), (0, rows)], np.float32)
            turned = cv2.getPerspectiveTransform(flat, corners.astype(np.float32))
            ink = cv2.warpPerspective(cover, turned, part.shape[1::-1], flags=cv2.INTER_AREA)
            part[:] = _blended(part, np.array(BLACK, np.float32), _share(ink))

    def _spot(self, corners: Any) -> tuple[Pixels, NDArray[np.float64]]:
        """Return the part of the picture that four corners span, and where in it they are."""
        places = self.place(corners)
        if self.mirrored:
            places = places[[1, 0, 3, 2]]
        rows, columns = self.pixels.shape[:2]
        left, top = np.clip(np.floor(places.min(axis=0)), 0, (columns - 1, rows - 1)).astype(int)
        right, bottom = np.maximum(np.ceil(places.max(axis=0)), (left + 1, top + 1)).astype(int)
        return self.pixels[top:bottom, left:right], places - (left, top)

    def tint(self, mask: Pixels, color: Color, most: float = 0.5) -> None:
        """Tint the frame where the mask (any size, 0 to 255) of the frame that was sent is high."""
        alpha = _share(self._laid(mask)) * np.float32(most)
        self.pixels[:] = _blended(self.pixels, np.array(color, np.float32), alpha)

    def cover(self, picture: Pixels) -> None:
        """Put a picture (RGB or RGBA) of the frame that was sent over this one.

        What is transparent shows a chessboard.
        """
        laid = self._laid(picture)
        if laid.shape[2] == 4:
            shown = laid[..., :3].astype(np.float32)
            laid = _blended(self._chessboard(), shown, _share(laid[..., 3]))
        self.pixels[:] = laid

    def _laid(self, picture: NDArray[Any]) -> NDArray[Any]:
        height, width = self.pixels.shape[:2]
        laid = fitted(picture, width, height)
        return laid[:, ::-1] if self.mirrored else laid

    def _chessboard(self) -> Pixels:
        height, width = self.pixels.shape[:2]
        step = max(4, round(8 * self._unit))
        rows, columns = np.arange(height) // step, np.arange(width) // step
        odd = (rows[:, None] + columns) % 2
        return np.repeat((200 + 40 * odd).astype(np.uint8)[..., None], 3, axis=2)

    def _thickness(self, width: float) -> int:
        return int(max(1, round(width * self._unit)))

    def _strokes(
        self,
        strokes: Sequence[NDArray[np.int32]],
        color: Color,
        width: float,
        *,
        closed: bool = False,
        rim: bool = True,
    ) -> None:
        """Draw lines with a dark rim, so that they show on any ground."""
        thick = self._thickness(width)
        for ink, more in ((BLACK, 2), (color, 0))[not rim :]:
            cv2.polylines(self.pixels, strokes, closed, ink, thick + more, cv2.LINE_AA, _SHIFT)

    def _plate(self, text: str, left: int, top: int, color: Color) -> None:
        cover = letters(text, self._size)
        rows, columns = self.pixels.shape[:2]
        pad = self._size // 4
        height, width = min(cover.shape[0], rows), min(cover.shape[1], max(columns - 2 * pad, 1))
        left = min(max(left, 0), max(columns - width - 2 * pad, 0))
        top = min(max(top, 0), rows - height)
        plate = self.pixels[top : top + height, left : left + width + 2 * pad]
        _shade(plate, color, _PLATE)
        part = plate[:, pad : pad + width]
        ink = np.array(WHITE if _is_dark(color) else BLACK, np.float32)
        part[:] = _blended(part, ink, _share(cover[:height, : part.shape[1]]))


def _fixed(places: NDArray[np.float64]) -> NDArray[np.int32]:
    """Convert to OpenCV's: its whole numbers are the middles of pixels, ours their corners."""
    return np.round((places - 0.5) * (1 << _SHIFT)).astype(np.int32)


def _shade(part: Pixels, color: Color, share: float) -> None:
    part[:] = _blended(part, np.array(color, np.float32), np.float32(share))


def _share(cover: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Convert a cover of 0 to 255 (height, width) to shares of each channel."""
    return cover[..., None].astype(np.float32) / np.float32(255)


def _blended(under: Pixels, over: NDArray[np.float32], alpha: Any) -> Pixels:
    mixed = under + (over - under) * alpha
    blended: Pixels = np.clip(mixed + np.float32(0.5), 0, 255).astype(np.uint8)
    return blended


def _is_dark(color: Color) -> bool:
    red, green, blue = color
    return 0.299 * red + 0.587 * green + 0.114 * blue < 140  # luma of BT.601
