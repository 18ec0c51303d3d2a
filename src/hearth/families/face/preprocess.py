"""Pictures on their way into detection, and faces on their way out of pictures."""

from typing import NamedTuple

from hearth.errors import InvalidInput
from hearth.families.face.alignment import aligned, resized
from hearth.families.face.faces import Crops, Kept, Landmarks, Wanted
from hearth.families.face.letterbox import letterbox
from hearth.families.face.scrfd import DetectionInput
from hearth.media import ImagePayload, ImageReader, Picture
from hearth.media.raw import Pixels

PICTURES_AHEAD = 4
"""Pictures under way, from their decoding until their last face is recognised; twice as many for
several clients. The others wait as files."""

LARGEST_KEPT = 40_000_000
"""Pixels. A picture with more isn't kept while it waits for detection: it is decoded once more
when its faces are cut out, one such picture at a time."""


class Look(NamedTuple):
    """A picture that is to be looked at."""

    file: ImagePayload
    wanted: Wanted
    keep: bool
    """Whether its pixels are wanted again, to cut out its faces."""


class Cut(NamedTuple):
    """A picture of which faces are to be cut out."""

    file: ImagePayload
    faces: tuple[Landmarks, ...] | None
    """None: it is an aligned face itself."""
    kept: Kept | None = None
    """The picture, where it is decoded already."""

    def crops(self, reader: ImageReader) -> Crops:
        """Cut out the faces; blocking. Raises ModelFailed, and as the reader does."""
        decoded = self.kept.take() if self.kept is not None else None
        pixels = _pixels(reader, self.file) if decoded is None else decoded
        height, width = pixels.shape[:2]
        if self.faces is not None:
            return Crops([aligned(pixels, face) for face in self.faces], (width, height))
        if width != height:
            raise InvalidInput(f"an aligned face is square; this picture has {width}×{height}")
        return Crops([resized(pixels)], (width, height))


class DetectionPreprocessor:
    """Decodes pictures for a detector of this size; any number of threads may."""

    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height

    def prepare(self, reader: ImageReader, look: Look) -> DetectionInput:
        """Prepare a picture as detection takes it; blocking. Raises as the reader does."""
        pixels = _pixels(reader, look.file)
        seen = letterbox(pixels, self._width, self._height)
        is_kept = look.keep and seen.width * seen.height <= LARGEST_KEPT
        return DetectionInput(seen, look.wanted, Kept(pixels) if is_kept else None)


def _pixels(reader: ImageReader, file: ImagePayload) -> Pixels:
    return file.decode(reader) if isinstance(file, Picture) else reader.pixels(file)
