"""Image files whose head is read: their size is known, and their pixels can be had."""

import random
from io import BytesIO
from typing import Protocol

import numpy as np
from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin

from hearth.media import jpeg
from hearth.media.colours import colours_of
from hearth.media.depth import is_deep, to_eight_bit
from hearth.media.forms import Decoded, PixelForm, alpha_of
from hearth.media.jpeg_file import JpegFile
from hearth.media.orientation import UPRIGHT, orientation_of, tagged_orientation, turn_upright
from hearth.media.png_file import PngFile


class EncodedImage(Protocol):
    """An image file that is to be decoded, once; methods raise whatever a decoder trips over."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of what comes out, before it is turned upright."""

    @property
    def is_decoded_by_lines(self) -> bool:
        """Whether decoding takes no more memory than the pixels that come out."""

    def shrink(self, at_least: int) -> None:
        """Decode smaller if that can be: the edges no less than twice ``at_least``."""

    def image(self) -> Image.Image:
        """Decode to an upright RGB image in the form STORED."""

    def decoded(self, form: PixelForm | None) -> Decoded:
        """Decode with all that pixels of this form are made from, or of any form."""


class EncodedJpeg:
    """A JPEG; satisfies ``EncodedImage``."""

    def __init__(self, payload: bytes, orientation: int | None = None) -> None:
        self.payload = payload
        """The file."""
        self._file = file = JpegFile(payload)
        self.size = file.width, file.height
        """Width and height of what comes out, before it is turned upright."""
        self._scale = 1
        if orientation is None:  # else the file around it says so
            told = file.exif or file.xmp
            orientation = orientation_of(file.exif, file.xmp) if told else UPRIGHT
        self._orientation = orientation
        self.is_plain = file.components != 4 and orientation == UPRIGHT
        """Whether it shows the very pixels that are coded in it."""

    @property
    def is_decoded_by_lines(self) -> bool:
        """Whether no channel, and no scan, has to wait for another."""
        return not self._file.has_multiple_scans

    def shrink(self, at_least: int) -> None:
        """Decode 2, 4 or 8 times smaller: the edges no less than twice ``at_least``."""
        times = min(self.size) // (2 * at_least)
        self._scale = max(scale for scale in (1, 2, 4, 8) if scale <= max(times, 1))
        self.size = self._file.size(self._scale)

    def image(self) -> Image.Image:
        """Decode to an upright RGB image in the form STORED."""
        return _as_rgb(self._upright())

    def decoded(self, form: PixelForm | None) -> Decoded:
        """Decode with all that pixels of this form are made from, or of any form."""
        inks = None
        if self.is_plain:
            rgb = jpeg.decode(self._file, self._scale)
        else:
            image = self._upright()
            inks = image if image.mode == "CMYK" else None
            rgb = np.asarray(_as_rgb(image))
        if form in (PixelForm.STORED, PixelForm.READABLE):
            return Decoded(rgb)
        mode = {1: "L", 4: "CMYK"}.get(self._file.components, "RGB")
        return Decoded(rgb, colours=colours_of(self._file.profile, mode, inks))

    def _upright(self) -> Image.Image:
        pixels = jpeg.decode(self._file, self._scale)
        mode = "CMYK" if pixels.shape[2] == 4 else "RGB"
        image = Image.frombuffer(mode, pixels.shape[1::-1], pixels)
        return turn_upright(image, self._orientation)


class PillowImage:
    """A file that Pillow decodes; satisfies ``EncodedImage``."""

    def __init__(self, image: ImageFile.ImageFile, orientation: int | None = None) -> None:
        self._image = image
        self._around = orientation
        """Orientation where the file around the image tells it."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, before it is turned upright."""
        return self._image.size

    @property
    def is_decoded_by_lines(self) -> bool:
        """Whether decoding takes no more memory than the pixels: nobody says so."""
        return False

    @property
    def orientation(self) -> int:
        """Orientation by its metadata."""
        if self._around is not None:
            return self._around
        try:
            return tagged_orientation(self._image.getexif())
        except Exception:
            # Broken metadata is no reason to refuse good pixels.
            return UPRIGHT

    @property
    def profile(self) -> bytes:
        """ICC profile; empty where there is none."""
        profile = self._image.info.get("icc_profile")
        return profile if isinstance(profile, bytes) else b""

    def shrink(self, at_least: int) -> None:
        """Do nothing: only JPEGs can be decoded smaller."""

    def load(self) -> None:
        """Decode it into Pillow's image."""
        self._image.load()

    def image(self) -> Image.Image:
        """Decode to an upright RGB image in the form STORED."""
        self.load()
        return turn_upright(_as_rgb(self._image), self.orientation)

    def decoded(self, form: PixelForm | None) -> Decoded:
        """Decode with all that pixels of this form are made from, or of any form."""
        self.load()
        image, orientation = self._image, self.orientation
        alpha = colours = None
        if form in (PixelForm.READABLE, None) and (shares := alpha_of(image)):
            alpha = np.asarray(turn_upright(shares, orientation))
        if form in (PixelForm.SRGB, None) and (profile := self.profile):
            inks = turn_upright(image, orientation) if image.mode == "CMYK" else None
            mode = {"1": "L", "LA": "L", "La": "L"}.get(image.mode, image.mode)
            colours = colours_of(profile, "L" if is_deep(image) else mode, inks)
        rgb = np.asarray(turn_upright(_as_rgb(image), orientation))
        return Decoded(rgb, alpha, colours)


class EncodedPng(PillowImage):
    """A PNG, of which Pillow sees what pixels depend on."""

    def __init__(self, payload: bytes) -> None:
        self._file = PngFile(payload)
        super().__init__(PngImagePlugin.PngImageFile(BytesIO(self._file.minimal())))

    @property
    def orientation(self) -> int:
        """Orientation by its metadata."""
        return orientation_of(self._file.exif, self._file.xmp)

    @property
    def profile(self) -> bytes:
        """ICC profile; empty where there is none."""
        return self._file.profile

    def load(self) -> None:
        """Decode it; raises ValueError where rows are missing, of which Pillow says nothing."""
        image = self._image
        if not image.tile:
            return  # it has been decoded
        # To unpack the data once more takes as long as decoding. So it is done only where the
        # last pixels are still those that stood there before: no picture ends with this noise.
        row, columns = self._file.last_pixels()
        box = (0, row, image.width, row + 1)
        noise = Image.new(image.mode, (image.width, 1))
        noise.frombytes(random.Random(0).randbytes(len(noise.tobytes())))
        canvas = Image.new(image.mode, image.size, None)
        canvas.paste(noise, box)
        image.im = canvas.im
        super().load()
        last, before = (np.asarray(each)[0, columns] for each in (image.crop(box), noise))
        if (np.array_equal(last, before) or self._file.is_cut) and not self._file.is_whole():
            raise ValueError("rows are missing")


def open_image(
    kind: type[ImageFile.ImageFile], payload: bytes, orientation: int | None = None
) -> EncodedImage:
    """Open a file of one of Pillow's kinds: JPEG and PNG by walking them, others with Pillow.

    ``orientation`` is Exif's where another part of the file tells it, else None.
    """
    if kind is JpegImagePlugin.JpegImageFile:
        return EncodedJpeg(payload, orientation)
    if kind is PngImagePlugin.PngImageFile:
        return EncodedPng(payload)
    return PillowImage(kind(BytesIO(payload)), orientation)


def _as_rgb(image: Image.Image) -> Image.Image:
    # Alpha is dropped; a transparent colour or palette would make Pillow warn.
    image.info.pop("transparency", None)
    if image.mode == "RGB":
        # Pillow's own conversion copies it.
        return image
    if is_deep(image):
        return to_eight_bit(image).convert("RGB")
    if image.mode == "La":
        return image.convert("LA").convert("RGB")
    return image.convert("RGB")
