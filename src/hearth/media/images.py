"""Bytes of an image file, as an upright RGB image; ``formats`` says what is read."""

import copy
import math
import re
import threading
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property

import numpy as np
from PIL import Image

from hearth.errors import InvalidInput, Overloaded, one_line
from hearth.media import jpeg
from hearth.media.encoded_image import EncodedImage, EncodedJpeg, open_image
from hearth.media.formats import FilePage, find_source
from hearth.media.forms import Decoded, PixelForm
from hearth.media.medium import HeavyPayload
from hearth.media.raw import Pixels

_HEAVY_PIXELS = 40_000_000
"""An image with more of them costs hundreds of megabytes while it is read: one at a time."""

_LONGEST_EDGE = 1_000_000
"""Pixels: libpng's own limit. Decoders keep something for each row, and hold whole rows."""


class ImageReader:
    """Reader of image files, for any number of threads; satisfies ``Decoder``.

    Heavy images (see ``HeavyPayload``) are read one at a time: a call waits for that, and one
    of the reader ``light`` raises HeavyPayload at once.
    """

    def __init__(self, max_pixels: int) -> None:
        self.max_pixels = max_pixels
        self._heavy = threading.Lock()
        self._waits = True
        # Pillow refuses twice its own limit deep inside some of its decoders; a user
        # who allows more must not be stopped there.
        if Image.MAX_IMAGE_PIXELS is not None and max_pixels > 2 * Image.MAX_IMAGE_PIXELS:
            Image.MAX_IMAGE_PIXELS = max_pixels

    @cached_property
    def light(self) -> "ImageReader":
        """Reader for those who must not wait with a heavy image."""
        light = copy.copy(self)
        light._waits = False
        return light

    def read(
        self,
        file: bytes | FilePage,
        *,
        at_least: int | None = None,
        form: PixelForm = PixelForm.STORED,
    ) -> Image.Image:
        """Read the first frame as an upright image of mode RGB.

        With ``at_least`` a JPEG may come smaller than it is (by 2, 4 or 8), its shortest
        edge no less than twice ``at_least`` pixels: made for a resize to ``at_least``, at
        54 dB against a full decode and a quarter of its time.

        Raises InvalidInput for anything that isn't a whole image of a known format
        with at most ``max_pixels`` pixels and edges of a million, Overloaded where the
        node has no memory left to read it, and nothing else.
        """
        try:
            encoded = self._open(file)
            with self._turn(encoded, at_least):
                if form is PixelForm.STORED:
                    return encoded.image()
                return Image.fromarray(encoded.decoded(form).pixels(form))
        except Exception as error:
            raise _refusal(error) from None

    def pixels(self, file: bytes | FilePage, form: PixelForm = PixelForm.STORED) -> Pixels:
        """Read an image as ``read`` does, as uint8 (height, width, 3), contiguous; raises as it
        does.

        A JPEG that stands upright takes half the time and a quarter of the memory of Pillow's
        image and its copy: 42 ms and 36 MB for 12 megapixels.
        """
        try:
            encoded = self._open(file)
            with self._turn(encoded, None):
                return encoded.decoded(form).pixels(form)
        except Exception as error:
            raise _refusal(error) from None

    def decoded(self, file: bytes | FilePage) -> Decoded:
        """Open an image file from which pixels of any form can be had; raises as ``read`` does."""
        try:
            encoded = self._open(file)
            with self._turn(encoded, None):
                return encoded.decoded(None)
        except Exception as error:
            raise _refusal(error) from None

    def read_into(
        self,
        out: Pixels,
        file: bytes | FilePage,
        fit: Callable[[Image.Image], Image.Image],
        *,
        at_least: int,
    ) -> None:
        """Write what ``fit`` makes of an image into ``out``, contiguous (height, width, 3).

        ``fit`` gets what ``read`` gives, and gives an RGB image of the size of ``out``. An
        image that has this size already is what it is to give back: a JPEG is decoded
        right into ``out`` then, and ``fit`` never called. Raises as ``read`` does, and
        what ``fit`` raises.
        """
        try:
            encoded = self._open(file)
            if isinstance(encoded, EncodedJpeg) and encoded.is_plain:
                fits = (*encoded.size[::-1], 3) == out.shape
                if fits and jpeg.decode_into(out, encoded.payload):
                    return
            turn = self._turn(encoded, at_least)
        except Exception as error:
            raise _refusal(error) from None
        with turn:
            try:
                upright = encoded.image()
            except Exception as error:
                raise _refusal(error) from None
            out[...] = np.asarray(fit(upright))

    def _open(self, file: bytes | FilePage) -> EncodedImage:
        if warnings.filters[:1] != [_SILENCE]:
            _silence_pillow()
        source = find_source(*file) if isinstance(file, FilePage) else find_source(file)
        encoded = open_image(source.opener, source.payload, source.orientation)
        width, height = encoded.size
        if width * height > self.max_pixels:
            raise InvalidInput(
                f"the image has {width}×{height} pixels; at most {self.max_pixels:,} are "
                "allowed (the node's max_image_pixels)"
            )
        if max(width, height) > _LONGEST_EDGE:
            raise InvalidInput(
                f"the image has {width}×{height} pixels; edges of at most {_LONGEST_EDGE:,} "
                "are read"
            )
        return encoded

    def _turn(self, encoded: EncodedImage, at_least: int | None) -> AbstractContextManager[object]:
        """Have a JPEG shrunk; what to hold while the image is decoded and resized."""
        pixels = math.prod(encoded.size)
        if at_least is not None:
            encoded.shrink(at_least)
        if pixels > _HEAVY_PIXELS and encoded.is_decoded_by_lines:
            pixels = math.prod(encoded.size)
        if pixels <= _HEAVY_PIXELS:
            return nullcontext()
        if not self._waits:
            raise HeavyPayload
        return self._heavy


def _refusal(error: Exception) -> Exception:
    """Tell in an error for the client whatever a parser of hostile bytes has tripped over.

    A lack of memory is no fault of an image that has passed the limits: Overloaded.
    """
    if isinstance(error, InvalidInput | HeavyPayload):
        return error
    if isinstance(error, MemoryError):
        return Overloaded("the node has no memory left to read the image: try again later")
    return InvalidInput(f"the image is broken or cut short ({one_line(error, 120)})")


_SILENCE = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
_silencing = threading.Lock()


def _silence_pillow() -> None:
    """Keep Pillow's warnings about odd files out of the log; the client gets an error or none.

    A filter for good rather than ``catch_warnings`` around each read: that one
    swaps a list of the whole process and isn't safe with several threads.
    """
    with _silencing:
        warnings.filterwarnings("ignore", category=Warning, module=r"PIL\.")
