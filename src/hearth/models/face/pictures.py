"""Pictures on their way into detection, and faces on their way out of pictures."""

from typing import NamedTuple

from hearth.errors import InvalidInput
from hearth.media import File, ImageReader, Picture
from hearth.models.face.alignment import aligned, resized
from hearth.models.face.faces import Crops, Landmarks, Pixels, Wanted
from hearth.models.face.letterbox import letterbox
from hearth.models.face.scrfd import View

PICTURES_AHEAD = 4
"""Pictures under way, from their decoding until their last face is recognised; twice as many for
several clients. The others wait as files."""

LARGEST_KEPT = 40_000_000
"""Pixels. A picture with more isn't kept while it waits for detection: it is decoded once more
when its faces are cut out, one such picture at a time."""


class Look(NamedTuple):
    """A picture that is to be looked at."""

    file: File
    wanted: Wanted
    cut: bool
    """Whether its faces are to be cut out as well."""


class Cut(NamedTuple):
    """A picture of which faces are to be cut out."""

    file: File
    faces: tuple[Landmarks, ...] | None
    """None: it is an aligned face itself."""


class Pictures:
    """Decodes pictures for a detector of this size; any number of threads may.

    ``heavy`` is as ImageReader has it, which may raise HeavyImage.
    """

    def __init__(self, reader: ImageReader, width: int, height: int) -> None:
        self._reader = reader
        self._width, self._height = width, height

    def prepare(self, look: Look, /, *, heavy: bool = True) -> View:
        """A picture as detection takes it; blocking. Raises InvalidInput."""
        pixels = self._pixels(look.file, heavy=heavy)
        seen = letterbox(pixels, self._width, self._height)
        is_kept = look.cut and seen.width * seen.height <= LARGEST_KEPT
        return View(seen, look.wanted, pixels if is_kept else None)

    def cut(self, cut: Cut, /, *, heavy: bool = True) -> Crops:
        """Faces of a picture, or the picture as one; blocking. Raises InvalidInput, ModelFailed."""
        pixels = self._pixels(cut.file, heavy=heavy)
        height, width = pixels.shape[:2]
        if cut.faces is not None:
            return Crops([aligned(pixels, face) for face in cut.faces], (width, height))
        if width != height:
            raise InvalidInput(f"an aligned face is square; this picture has {width}×{height}")
        return Crops([resized(pixels)], (width, height))

    def _pixels(self, file: File, *, heavy: bool) -> Pixels:
        picture = file if isinstance(file, Picture) else Picture(file)
        return picture.pixels(self._reader, heavy=heavy)
