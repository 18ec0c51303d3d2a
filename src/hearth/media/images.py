"""Bytes of an image file, as an upright RGB image; ``formats`` says what is read."""

import copy
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property

import numpy as np
from PIL import ExifTags, Image, ImageFile, JpegImagePlugin

from hearth.errors import InvalidInput, one_line
from hearth.media import jpeg
from hearth.media.depth import is_deep, to_eight_bit
from hearth.media.formats import FilePage, find_source
from hearth.media.raw import Pixels

_MOST_SCANS = 100
"""In one JPEG: encoders write about ten for each picture, and thumbnails have theirs."""

_HEAVY_PIXELS = 40_000_000
"""An image with more of them costs hundreds of megabytes while it is read: one at a time."""

# TIFF 6.0 and Exif 2.32, tag 274 (Orientation): how the stored pixels become upright ones.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class HeavyImage(Exception):
    """The image takes hundreds of megabytes while it is read, and that wasn't allowed for."""


class ImageReader:
    """Reads image files; any number of threads may share one reader.

    Heavy images (see ``HeavyImage``) are read one at a time: a call waits for that, and one
    of the reader ``light`` raises HeavyImage at once.
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
        """The same reader for those who must not wait with a heavy image."""
        light = copy.copy(self)
        light._waits = False
        return light

    def read(self, file: bytes | FilePage, *, at_least: int | None = None) -> Image.Image:
        """The first frame as an upright image of mode RGB.

        Alpha is dropped, not blended: transparent pixels show the colour that is
        stored under them, as in open_clip's own preprocessing. With ``at_least`` a
        JPEG may come smaller than it is (by 2, 4 or 8), its shortest edge no less
        than twice ``at_least`` pixels: made for a resize to ``at_least``, at 54 dB
        against a full decode and a quarter of its time.

        Raises InvalidInput for anything that isn't a whole image of a known format
        with at most ``max_pixels`` pixels, and nothing else.
        """
        with _refusing():
            image, payload = self._open(file)
            with self._turn(image, payload, at_least):
                return _decoded(image)

    def pixels(self, file: bytes | FilePage) -> Pixels:
        """What ``read`` gives as uint8 (height, width, 3), contiguous; raises as it does.

        A JPEG that stands upright takes half the time and a quarter of the memory of Pillow's
        image and its copy: 42 ms and 36 MB for 12 megapixels.
        """
        with _refusing():
            image, payload = self._open(file)
            with self._turn(image, payload, None):
                if _is_plain_jpeg(image):
                    out = np.empty((image.height, image.width, 3), np.uint8)
                    if jpeg.decode_into(out, payload):
                        return out
                return np.asarray(_decoded(image))

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
        with _refusing():
            image, payload = self._open(file)
            fits = (image.height, image.width, 3) == out.shape
            if fits and _is_plain_jpeg(image) and jpeg.decode_into(out, payload):
                return
            turn = self._turn(image, payload, at_least)
        with turn:
            with _refusing():
                upright = _decoded(image)
            out[...] = np.asarray(fit(upright))

    def _open(self, file: bytes | FilePage) -> tuple[ImageFile.ImageFile, bytes]:
        """The image, and the bytes that it stands in."""
        source = find_source(*file) if isinstance(file, FilePage) else find_source(file)
        if source.opener is JpegImagePlugin.JpegImageFile:
            _check_scans(source.payload)
        image = source.open()
        width, height = image.size
        if width * height > self.max_pixels:
            raise InvalidInput(
                f"the image has {width}×{height} pixels; at most {self.max_pixels:,} are allowed"
            )
        return image, source.payload

    def _turn(
        self, image: ImageFile.ImageFile, payload: bytes, at_least: int | None
    ) -> AbstractContextManager[object]:
        """Scale a JPEG; what to hold while the image is decoded and resized."""
        pixels = image.width * image.height
        if at_least is not None:
            # JPEG only; a no-op elsewhere.
            image.draft(None, (2 * at_least, 2 * at_least))
        if pixels > _HEAVY_PIXELS and _is_decoded_by_lines(image, payload):
            pixels = image.width * image.height
        if pixels <= _HEAVY_PIXELS:
            return nullcontext()
        if not self._waits:
            raise HeavyImage
        return self._heavy


@contextmanager
def _refusing() -> Iterator[None]:
    """Parsers of hostile bytes raise whatever they trip over: InvalidInput, all of it."""
    _silence_pillow()
    try:
        yield
    except (InvalidInput, HeavyImage):
        raise
    except Exception as error:
        raise InvalidInput(f"the image is broken or cut short ({one_line(error, 120)})") from None


def _is_plain_jpeg(image: ImageFile.ImageFile) -> bool:
    """Whether it shows the very pixels that are coded in it."""
    return (
        isinstance(image, JpegImagePlugin.JpegImageFile)
        and image.mode in ("RGB", "L")
        and _orientation(image) not in _UPRIGHT
    )


def _is_decoded_by_lines(image: ImageFile.ImageFile, payload: bytes) -> bool:
    """Whether decoding takes no more memory than the pixels that come out.

    A JPEG whose first scan isn't all there is of all its channels is held whole.
    """
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or "progressive" in image.info:
        return False
    # Opened, it stands behind the head of the scan: ITU T.81, B.2.3. Wherever else a file
    # may stand one day, it only counts as one that is held whole.
    head = bytes((0xFF, 0xDA, 0, 6 + 2 * image.layers, image.layers))
    start = image.fp.tell() - (8 + 2 * image.layers) if image.fp else 0
    return payload.startswith(head, max(start, 0))


def _decoded(image: ImageFile.ImageFile) -> Image.Image:
    image.load()
    return _upright(_as_rgb(image), _orientation(image))


def _check_scans(payload: bytes) -> None:
    """Refuse JPEGs that repeat their pixels hundreds of times: some 400 KB take minutes."""
    # ITU T.81, B.1.1.2: FF DA starts a scan, and nothing else in coded data looks like it.
    # As 16-bit words from even and from odd offsets: payload.count takes ten times as long,
    # 1.7 ms for a photograph.
    words = (np.frombuffer(payload, "<u2", (len(payload) - at) // 2, at) for at in (0, 1))
    scans = sum(np.count_nonzero(part == 0xDAFF) for part in words)
    if scans > _MOST_SCANS:
        raise InvalidInput(f"the JPEG has {scans} scans; at most {_MOST_SCANS} are decoded")


def _as_rgb(image: ImageFile.ImageFile) -> Image.Image:
    # Alpha is dropped in any case; a transparent colour or palette would make Pillow warn.
    image.info.pop("transparency", None)
    if image.mode == "RGB":
        # Pillow's own conversion copies it.
        return image
    if is_deep(image):
        return to_eight_bit(image).convert("RGB")
    if image.mode == "La":
        return image.convert("LA").convert("RGB")
    return image.convert("RGB")


def _orientation(image: ImageFile.ImageFile) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        # Broken metadata is no reason to refuse good pixels.
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    method = _UPRIGHT.get(orientation)
    return image if method is None else image.transpose(method)


_SILENCE = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
_silencing = threading.Lock()


def _silence_pillow() -> None:
    """Keep Pillow's warnings about odd files out of the log; the client gets an error or none.

    A filter for good rather than ``catch_warnings`` around each read: that one
    swaps a list of the whole process and isn't safe with several threads.
    """
    if warnings.filters[:1] != [_SILENCE]:
        with _silencing:
            warnings.filterwarnings("ignore", category=Warning, module=r"PIL\.")
