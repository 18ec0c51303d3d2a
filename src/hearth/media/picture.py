"""A picture that several may look at: decoded once, however many they are."""

import threading

from PIL import Image

from hearth.media.formats import FilePage
from hearth.media.images import ImageReader
from hearth.media.raw import Pixels, RawForm, is_raw, raw_form, read_raw


class Picture:
    """An image file, or a raw frame if the mime says so; raises InvalidInput for a bad mime.

    The first who asks decodes it, in whichever thread; others wait for that. Its pixels are
    kept as long as the picture lives, three bytes each, so whoever makes one bounds how many
    there are.
    """

    def __init__(self, file: bytes | FilePage, mime: str = "") -> None:
        self.file = file
        """The file, with its page where that isn't the first."""
        self.payload, self.page = file if isinstance(file, FilePage) else (file, 1)
        self.form: RawForm | None = raw_form(mime) if is_raw(mime) else None
        """None for an image file."""
        self._pixels: Pixels | None = None
        self._lock = threading.Lock()

    @property
    def is_ready(self) -> bool:
        """Whether its pixels can be had in no time."""
        raw = self.form is not None and self.form.format == "rgb"
        return raw or self._pixels is not None

    def pixels(self, reader: ImageReader) -> Pixels:
        """Upright, RGB, uint8 (height, width, 3), contiguous and read-only.

        Blocking; raises as the reader does.
        """
        # Without the lock: whoever is on a loop mustn't wait while somebody decodes.
        if self._pixels is not None:
            return self._pixels
        with self._lock:
            if self._pixels is None:
                self._pixels = self._decoded(reader)
            return self._pixels

    def image(self, reader: ImageReader) -> Image.Image:
        """A copy of the same as an image of Pillow's, which takes four bytes a pixel."""
        return Image.fromarray(self.pixels(reader))

    def _decoded(self, reader: ImageReader) -> Pixels:
        if self.form is None:
            pixels = reader.pixels(self.file)
        else:
            pixels = read_raw(self.payload, self.form, reader.max_pixels)
        pixels.flags.writeable = False
        return pixels


File = bytes | FilePage | Picture
"""An image file; a page of one; or a picture that is more than a file, or that others look at
too."""
