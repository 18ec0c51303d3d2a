"""Faces as they are found, and which of them somebody wants."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hearth.families.face import parameters as p
from hearth.media.raw import Pixels

Vector = NDArray[np.float32]
"""(512,), of length 1, read-only."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels of the upright picture."""

Landmarks = tuple[float, ...]
"""Ten numbers: x, y of the five points (``parameters.POINTS``), in pixels of the upright
picture; a point may lie outside of it."""


class DetectedFace(NamedTuple):
    """One face."""

    box: Box
    """Box within the picture."""
    confidence: float
    """0 to 1."""
    landmarks: Landmarks

    @property
    def width(self) -> float:
        """Width of the box, in pixels."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> float:
        """Height of the box, in pixels."""
        return self.box[3] - self.box[1]

    @property
    def prominence(self) -> float:
        """Measure of how large and sure a face is: the box's area times the confidence."""
        return self.width * self.height * self.confidence


class Kept:
    """A decoded picture, until somebody takes it: whoever held on to it holds nothing then."""

    __slots__ = ("_pixels",)

    def __init__(self, pixels: Pixels) -> None:
        self._pixels: Pixels | None = pixels

    def take(self) -> Pixels | None:
        """Take the pixels out; None from the second time on."""
        pixels, self._pixels = self._pixels, None
        return pixels


class Crops(NamedTuple):
    """Faces cut out of a picture."""

    faces: list[Pixels]
    """Aligned, RGB (112, 112, 3) each."""
    size: tuple[int, int]
    """Width and height of the picture."""


class Embedded(NamedTuple):
    """A face, and whose it is."""

    face: DetectedFace
    vector: Vector


class Wanted(NamedTuple):
    """Bounds on the faces of a picture that somebody wants."""

    min_confidence: float = p.MIN_CONFIDENCE
    nms_threshold: float = p.NMS_THRESHOLD
    max_faces: int = 0
    """The most prominent ones; 0 or less: all."""
    min_size: float = 0.0
    """Pixels of the box's shorter side, at least."""
    max_size: float | None = None
    """Pixels of the box's longer side, at most."""

    @property
    def least(self) -> float:
        """Faces this sure are looked for: those that others may ask for as well."""
        return min(self.min_confidence, p.LEAST_KEPT)

    def choose(self, faces: Sequence[DetectedFace]) -> tuple[DetectedFace, ...]:
        """Choose those of a picture's faces that are wanted, in the order in which they come."""
        fitting = [face for face in faces if self._fits(face)]
        if 0 < self.max_faces < len(fitting):
            chosen = sorted(range(len(fitting)), key=lambda at: -fitting[at].prominence)
            return tuple(fitting[at] for at in sorted(chosen[: self.max_faces]))
        return tuple(fitting)

    def _fits(self, face: DetectedFace) -> bool:
        if face.confidence < self.min_confidence:
            return False
        if min(face.width, face.height) < self.min_size:
            return False
        return self.max_size is None or max(face.width, face.height) <= self.max_size


SURE = Wanted()
"""Least confidence, insightface's: all that are sure enough."""
