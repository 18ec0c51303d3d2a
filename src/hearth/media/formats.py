"""Which image formats are read, and by what; the others are refused by their names.

The bytes decide what a file is, never its label: clients mislabel images.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageCms,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from hearth.errors import InvalidInput
from hearth.iso_media import brands_of
from hearth.media import camera_raw, heif, jpeg_xl, tiff
from hearth.media.raw import MIME as RAW_FRAME
from hearth.media.tiff_layout import OLD_JPEG, layout_of, unreadable
from hearth.media.tiff_samples import SampledTiff
from hearth.media.tiff_segments import segments_of
from hearth.media.unsupported import describe_unsupported

PACKAGES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "HEIC": (("image/heic", "image/heif"), "pi-heif"),
    "JPEG XL": (("image/jxl",), "pillow-jxl-plugin"),
}
"""Formats that need a package of their own: their mimes, and the package."""

IMAGES = (
    "image/jpeg", "image/png", "image/webp", "image/avif", "image/bmp", "image/gif", "image/tiff",
    *(mime for mimes, _ in PACKAGES.values() for mime in mimes),
    *camera_raw.MIMES,
)  # fmt: skip
"""Mimes of all image files that are read, some of them only with a further package."""
PICTURES = (*IMAGES, RAW_FRAME)
"""Mimes of all pictures: files, and frames of videos."""

Opener = type[ImageFile.ImageFile]


class FilePage(NamedTuple):
    """An image file of which another page than the first is meant."""

    payload: bytes
    page: int
    """Number of the page, from 1."""


class Source(NamedTuple):
    """Part of a file that is to be read."""

    opener: Opener
    payload: bytes
    """The whole file, or an image that stands in it."""
    orientation: int | None = None
    """Exif's, where the file around the image says it."""


def find_source(payload: bytes, page: int = 1) -> Source:
    """Find what to read of a file for one of its pages, from 1.

    Raises InvalidInput where there is no such page, and for all that isn't read here.
    """
    if not payload:
        raise InvalidInput("the image is empty")
    if payload[:4] in tiff.MAGIC:
        return _of_tiff(payload, page)
    source: Source | None = None
    if payload[:3] == _JPEG:
        source = Source(JpegImagePlugin.JpegImageFile, payload)
    elif not heif.BRANDS.isdisjoint(brands_of(payload)):
        source = _of_heif(payload)
    for mark, find in _SIGNATURES:
        if source is None and mark.match(payload):
            source = find(payload)
    if source is None:
        raise _refusal(payload)
    if page != 1:
        raise InvalidInput(f"page = {page}: this image has 1 page")
    return source


def page_count(payload: bytes) -> int:
    """Count the pages of a file: 1 but for TIFF files with more, and for what is broken."""
    if payload[:4] not in tiff.MAGIC:
        return 1
    try:
        directories = tiff.read_directories(payload)
        return 1 if camera_raw.is_raw_tiff(payload, directories) else len(tiff.pages(directories))
    except InvalidInput:
        return 1  # what reads it says so


def is_read(mime: str) -> bool:
    """Tell whether the files of a mime can be read with what is installed."""
    name = next((name for name, (mimes, _) in PACKAGES.items() if mime in mimes), "")
    return name not in PACKAGES or _IS_THERE[name]()


_IS_THERE: Mapping[str, Callable[[], bool]] = {
    "HEIC": lambda: heif.heic_opener() is not None,
    "JPEG XL": jpeg_xl.is_installed,
}


def import_decoders() -> None:
    """Import the packages of ``PACKAGES``, which takes milliseconds that a loop hasn't."""
    for is_there in _IS_THERE.values():
        is_there()


def names() -> str:
    """List the formats that are read here, for people."""
    more = [name for name, is_there in _IS_THERE.items() if is_there()]
    return ", ".join(("JPEG", "PNG", "WebP", "AVIF", "BMP", "GIF", *more)) + " or TIFF"


class PlainTiff(TiffImagePlugin.TiffImageFile):
    """A TIFF as Pillow reads it; CIELab becomes RGB. Raises InvalidInput for layouts that it
    doesn't know.
    """

    def _open(self) -> None:
        try:
            super()._open()
        except (SyntaxError, KeyError):
            assert self.fp is not None
            self.fp.seek(0)
            raise unreadable(layout_of(tiff.first_directory(self.fp.read()))) from None

    def load(self) -> Any:
        """Decode the image, once."""
        loaded = super().load()
        if self.mode == "LAB":
            lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
            plain = Image.Image()._new(self.im)  # ImageCms would load this one once more
            image = ImageCms.profileToProfile(plain, lab, srgb, outputMode="RGB")
            assert image is not None
            self.im, self._mode = image.im, "RGB"
            self.info.pop("icc_profile", None)
            return self.im.pixel_access(self.readonly)
        return loaded


def _of_tiff(payload: bytes, page: int) -> Source:
    directories = tiff.read_directories(payload)
    if camera_raw.is_raw_tiff(payload, directories):
        if page != 1:
            raise InvalidInput(f"page = {page}: a RAW file has 1 page")
        return _of_preview(camera_raw.preview_of_tiff(payload, directories))
    pages = tiff.pages(directories)
    if page > len(pages):
        raise InvalidInput(
            f"page = {page}: this TIFF has {len(pages)} page{'s' if len(pages) > 1 else ''}"
        )
    chosen = pages[page - 1]
    layout = layout_of(chosen)
    # Pillow 13 overlooks that a file is a BigTIFF where its highest bytes come first.
    if layout.is_plain and not (chosen.is_big and chosen.order == ">"):
        if layout.compression != OLD_JPEG:  # which keeps them in a way of its own
            segments_of(chosen, layout)  # Pillow would leave black what is missing
        return Source(PlainTiff, tiff.starting_with(chosen))
    if layout.is_readable:
        orientation = chosen.number(tiff.ORIENTATION, 1)
        return Source(SampledTiff, tiff.starting_with(chosen), orientation)
    raise unreadable(layout)


def _of_preview(preview: camera_raw.Preview) -> Source:
    return Source(JpegImagePlugin.JpegImageFile, preview.jpeg, preview.orientation)


def _of_heif(payload: bytes) -> Source:
    if heif.coding_of(payload) == "AV1":
        return Source(AvifImagePlugin.AvifImageFile, heif.branded_avif(payload))
    if (opener := heif.heic_opener()) is None:
        raise _not_installed("HEIC")
    heif.check_items(payload)
    return Source(opener, payload)


def _of_jpeg_xl(payload: bytes) -> Source:
    if not jpeg_xl.is_installed():
        raise _not_installed("JPEG XL")
    return Source(jpeg_xl.JpegXlFile, payload)


def _not_installed(name: str) -> InvalidInput:
    _, package = PACKAGES[name]
    return InvalidInput(
        f"a {name} image: this node reads them once {package} is installed "
        f"(pip install {package}); or send it as JPEG"
    )


def _refusal(payload: bytes) -> InvalidInput:
    what = describe_unsupported(payload)
    return InvalidInput(what if ": " in what else f"{what}: send the image as {names()}")


def _plain(opener: Opener) -> Callable[[bytes], Source]:
    return lambda payload: Source(opener, payload)


_JPEG = b"\xff\xd8\xff"

# Pillow's own opener knows forty more formats, some of them run other programs or open
# other files. It also loads every plugin there is at the first WebP.
_SIGNATURES: tuple[tuple[re.Pattern[bytes], Callable[[bytes], Source]], ...] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), _plain(PngImagePlugin.PngImageFile)),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), _plain(WebPImagePlugin.WebPImageFile)),
    # Two letters could begin a text as well: with the size of one of its headers.
    (re.compile(rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL),
     _plain(BmpImagePlugin.BmpImageFile)),
    (re.compile(rb"GIF8[79]a"), _plain(GifImagePlugin.GifImageFile)),
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"), _of_jpeg_xl),
    (re.compile(rb"FUJIFILMCCD-RAW "),
     lambda payload: _of_preview(camera_raw.preview_of_fuji(payload))),
    (re.compile(rb"IIU\0"), lambda payload: _of_preview(camera_raw.preview_of_panasonic(payload))),
)  # fmt: skip
