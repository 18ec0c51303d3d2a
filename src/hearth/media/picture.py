"""A picture that several may look at: decoded once, however many they are."""

import threading

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hearth.media.images import ImageReader
from hearth.media.raw import RawForm, is_raw, raw_form, read_raw

Pixels = NDArray[np.uint8]


class Picture:
    """An image file, or a raw frame if the mime says so; raises InvalidInput for a bad mime.

    The first who asks decodes it, in whichever thread; others wait for that. It is decoded
    whole and kept as long as the picture lives, so whoever makes one bounds how many there are.
    """

    def __init__(self, payload: bytes, mime: str = "") -> None:
        self.payload = payload
        self.form: RawForm | None = raw_form(mime) if is_raw(mime) else None
        """None for an image file."""
        self._image: Image.Image | None = None
        self._pixels: Pixels | None = None
        self._lock = threading.Lock()

    @property
    def is_ready(self) -> bool:
        """Whether its pixels can be had in no time."""
        raw = self.form is not None and self.form.format == "rgb"
        return raw or self._pixels is not None

    def image(self, reader: ImageReader, *, heavy: bool = True) -> Image.Image:
        """The upright RGB image; nobody is to change it. Blocking; raises as the reader does."""
        if self._image is not None:
            return self._image
        with self._lock:
            if self._image is None:
                if self.form is None and self._pixels is None:
                    self._image = reader.read(self.payload, heavy=heavy)
                else:
                    self._image = Image.fromarray(self._array(reader, heavy))
            return self._image

    def pixels(self, reader: ImageReader, *, heavy: bool = True) -> Pixels:
        """The same as RGB uint8 (height, width, 3), contiguous and read-only."""
        # Without the lock: whoever is on a loop mustn't wait while somebody makes an image.
        if self._pixels is not None:
            return self._pixels
        with self._lock:
            return self._array(reader, heavy)

    def _array(self, reader: ImageReader, heavy: bool) -> Pixels:
        if self._pixels is None:
            if self.form is not None:
                pixels = read_raw(self.payload, self.form, reader.max_pixels)
            else:
                # An image of Pillow's takes four bytes a pixel: it isn't kept beside the array
                # unless somebody has asked for it.
                pixels = np.asarray(self._image or reader.read(self.payload, heavy=heavy))
            pixels.flags.writeable = False
            self._pixels = pixels
        return self._pixels


File = bytes | Picture
"""An image file; or a picture that is more than a file, or that others look at too."""
