"""A picture that several may look at: decoded once, however many they are."""

import threading

from PIL import Image

from hearth.media.formats import PICTURES, FilePage, import_decoders, is_read, page_count
from hearth.media.forms import Decoded, PixelForm
from hearth.media.images import ImageReader
from hearth.media.medium import Medium
from hearth.media.raw import Pixels, RawForm, is_raw, raw_alpha, raw_form, read_raw


class Picture:
    """An image file, or a raw frame if the mime says so; satisfies ``Decodable``.

    Raises InvalidInput for a bad mime.

    The first who asks decodes it, in whichever thread; others wait for that. Its pixels are
    kept as long as the picture lives, three bytes each, so whoever makes one bounds how many
    there are. Where it is transparent, or has a colour profile, that adds up to five bytes, and
    three for each other form that is asked for.
    """

    def __init__(self, file: bytes | FilePage, mime: str = "") -> None:
        self.file = file
        """The file, with its page where that isn't the first."""
        self.payload, self.page = file if isinstance(file, FilePage) else (file, 1)
        self.form: RawForm | None = raw_form(mime) if is_raw(mime) else None
        """None for an image file."""
        self._decoded: Decoded | None = None
        self._pixels: dict[PixelForm, Pixels] = {}
        self._page_count = 0
        self._lock = threading.Lock()

    def is_ready(self, form: PixelForm = PixelForm.STORED) -> bool:
        """Tell whether its pixels can be had in no time."""
        raw = self.form is not None and self.form.format == "rgb"
        return raw or form in self._pixels

    def decode(self, reader: ImageReader, form: PixelForm = PixelForm.STORED) -> Pixels:
        """Decode to upright RGB, uint8 (height, width, 3), contiguous and read-only; blocking.

        One array for all forms that look the same, kept. Raises as the reader does.
        """
        # Without the lock: whoever is on a loop mustn't wait while somebody decodes.
        if form in self._pixels:
            return self._pixels[form]
        with self._lock:
            if form not in self._pixels:
                self._decoded = self._decoded or self._decode(reader)
                pixels = self._decoded.pixels(form)
                pixels.flags.writeable = False
                self._pixels[form] = pixels
            return self._pixels[form]

    def page_count(self) -> int:
        """Count the file's pages, once; a raw frame has 1."""
        with self._lock:
            if not self._page_count:
                self._page_count = 1 if self.form is not None else page_count(self.payload)
            return self._page_count

    def image(self, reader: ImageReader) -> Image.Image:
        """Copy the form STORED into an image of Pillow's, which takes four bytes a pixel."""
        return Image.fromarray(self.decode(reader))

    def _decode(self, reader: ImageReader) -> Decoded:
        if self.form is None:
            return reader.decoded(self.file)
        pixels = read_raw(self.payload, self.form, reader.max_pixels)
        return Decoded(pixels, raw_alpha(self.payload, self.form))


ImagePayload = bytes | FilePage | Picture
"""An image file; a page of one; or a picture that is more than a file, or that others look at
too."""

IMAGE = Medium(
    "image",
    PICTURES,
    is_read=is_read,
    import_decoders=import_decoders,
    most_decoded=8,  # one of 12 megapixels takes 36 MB
)
