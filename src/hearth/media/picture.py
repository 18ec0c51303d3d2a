"""An image file that several models look at, and that is decoded once for all of them."""

import threading

from PIL import Image

from hearth.media.images import ImageReader


class Picture:
    """The bytes of an image file, and the image once somebody has read it.

    ``at_least`` as ``ImageReader.read`` has it: the largest that any of the models wants.
    Any number of threads may ask.
    """

    def __init__(self, payload: bytes, at_least: int) -> None:
        self.payload = payload
        self.at_least = at_least
        self._image: Image.Image | None = None
        self._turn = threading.Lock()

    def read(self, reader: ImageReader, *, heavy: bool = True) -> Image.Image:
        """The upright RGB image, which nobody may change; blocking. Raises as the reader does."""
        with self._turn:
            if self._image is None:
                self._image = reader.read(self.payload, at_least=self.at_least, heavy=heavy)
            return self._image
