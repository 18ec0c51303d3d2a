"""RAW files show the picture that the camera made of them, or are refused by their names."""

import struct
import tracemalloc
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageOps

from hearth.errors import InvalidInput
from hearth.media import FilePage, ImageReader
from hearth.media.formats import page_count
from raw_kit import (
    SIZE,
    Blob,
    Inside,
    as_strip,
    by_offset,
    camera_file,
    jpeg,
    nef,
    photo,
    sensor,
    thumbnail,
)

READER = ImageReader(10**7)


def dng(preview: bytes, orientation: int = 1, order: str = "<") -> bytes:
    size = Image.open(BytesIO(preview)).size
    inside = Inside((sensor(*SIZE), as_strip(preview, size)))
    return camera_file({**thumbnail(), 271: b"Anybody\0", 274: orientation, 330: inside,
                        50706: b"\1\6\0\0"}, order=order)  # fmt: skip


def arw(preview: bytes, orientation: int = 1, order: str = "<") -> bytes:
    first = {**by_offset(preview), 271: b"SONY\0", 274: orientation,
             330: Inside((sensor(*SIZE) | {259: 32767},))}  # fmt: skip
    return camera_file(first, by_offset(jpeg(photo(16, 12, 2))), order=order)


def cr2(preview: bytes, orientation: int = 1, order: str = "<") -> bytes:
    size = Image.open(BytesIO(preview)).size
    # The sensor's values are a JPEG without loss, of two components side by side (SOF3).
    lossless = (
        b"\xff\xd8\xff\xc3" + struct.pack(">HBHHB", 14, 14, SIZE[1], SIZE[0] // 2, 2) + bytes(6)
    )
    first = as_strip(preview, size, 6) | {271: b"Canon\0", 274: orientation}
    del first[254], first[262]
    values = {259: 6, 273: Blob(lossless), 279: len(lossless), 50752: (1, 2, 3)}
    small = thumbnail()
    del small[254]
    return camera_file(first, by_offset(jpeg(photo(16, 12, 2))), small, values, order=order,
                       after=b"CR\2\0\0\0\0\0")  # fmt: skip


def pef(preview: bytes, orientation: int = 1, order: str = "<") -> bytes:
    first = sensor(*SIZE) | {259: 65535, 271: b"PENTAX \0", 274: orientation}
    return camera_file(first, by_offset(jpeg(photo(16, 12, 2))), by_offset(preview), order=order)


def rw2(preview: bytes, orientation: int = 1, order: str = "<") -> bytes:
    fields = {2: SIZE[0], 3: SIZE[1], 46: preview, 274: orientation}
    return camera_file(fields, magic=b"IIU\0")


def raf(preview: bytes, orientation: int = 1, order: str = "<") -> bytes:
    if orientation != 1:
        exif = Image.Exif()
        exif[274] = orientation
        note = exif.tobytes()
        preview = b"".join(
            (preview[:2], b"\xff\xe1", struct.pack(">H", len(note) + 2), note, preview[2:])
        )
    records = struct.pack(">IHHHH", 1, 0x100, 4, SIZE[1], SIZE[0])
    head = b"FUJIFILMCCD-RAW 0201".ljust(84, b"\0")
    places = struct.pack(">4I", 108, len(preview), 108 + len(preview), len(records))
    return (head + places).ljust(108, b"\0") + preview + records


CAMERAS = {"NEF": nef, "DNG": dng, "ARW": arw, "CR2": cr2, "PEF": pef, "RW2": rw2, "RAF": raf}
Camera = Callable[..., bytes]


def decoded(file: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(file)).convert("RGB"))


@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)
@pytest.mark.parametrize("size", [SIZE, (300, 200), (576, 384)])
def test_a_preview_of_half_the_size_is_the_picture(camera: Camera, size):
    preview = jpeg(photo(*size))
    assert np.array_equal(READER.pixels(camera(preview)), decoded(preview))
    assert np.array_equal(np.asarray(READER.read(camera(preview))), decoded(preview))


@pytest.mark.parametrize("name", CAMERAS)
@pytest.mark.parametrize("size", [(298, 200), (160, 120)])
def test_a_smaller_one_is_refused_by_the_files_name(name, size):
    with pytest.raises(InvalidInput, match=rf"a RAW file \({name}\) without a preview.*JPEG"):
        READER.read(CAMERAS[name](jpeg(photo(*size))))


@pytest.mark.parametrize("name", ["NEF", "DNG", "ARW", "PEF", "CR2"])
def test_the_order_of_bytes_is_the_cameras_own(name):
    preview = jpeg(photo(300, 200))
    assert np.array_equal(READER.pixels(CAMERAS[name](preview, order=">")), decoded(preview))


@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_files_orientation_is_applied_once(camera: Camera, orientation):
    preview = jpeg(photo(*SIZE))
    image = Image.open(BytesIO(preview))
    image.getexif()[274] = orientation
    right = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(READER.pixels(camera(preview, orientation)), right)


@pytest.mark.parametrize("camera", [nef, dng, arw, cr2, pef])
def test_an_orientation_in_the_preview_too_is_not_applied_again(camera: Camera):
    exif = Image.Exif()
    exif[274] = 6
    preview = jpeg(photo(*SIZE), exif=exif)
    pixels = READER.pixels(camera(preview, 6))
    assert pixels.shape == (600, 400, 3)
    assert np.array_equal(pixels, np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(preview)))))


def test_without_any_jpeg_it_is_refused():
    for inside in (Inside((sensor(*SIZE),)), Inside((sensor(*SIZE) | {262: 34892},))):
        file = camera_file({**thumbnail(), 330: inside, 50706: b"\1\4\0\0"})
        with pytest.raises(InvalidInput, match=r"a RAW file \(DNG\)"):
            READER.read(file)


def test_it_has_one_page():
    file = pef(jpeg(photo(*SIZE)))
    assert page_count(file) == 1
    with pytest.raises(InvalidInput, match="page = 2: a RAW file has 1 page"):
        READER.read(FilePage(file, 2))


def test_previews_with_too_many_pixels_are_refused():
    with pytest.raises(InvalidInput, match="600×400 pixels; at most 1,000"):
        ImageReader(1000).read(nef(jpeg(photo(*SIZE))))


@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)
def test_any_part_of_a_file_is_a_picture_or_refused(camera: Camera):
    file = camera(jpeg(photo(300, 200)))
    for end in range(0, len(file), max(1, len(file) // 40)):
        try:
            assert READER.pixels(file[:end]).shape == (200, 300, 3)
        except InvalidInput as error:
            assert "\n" not in str(error)


def test_a_file_full_of_previews_is_no_copy_of_itself_for_each():
    """A thousand that each take all of the file; what is copied is the one that is chosen."""
    tags = {513: 8, 514: 1 << 20}
    preview = jpeg(photo(*SIZE))
    file = camera_file(*[sensor(*SIZE)] + [tags] * 1000)
    file += bytes((1 << 20) - len(file))
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput, match="a RAW file"):
            READER.read(file)
        assert READER.pixels(nef(preview)).shape == (*SIZE[::-1], 3)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 << 20


def test_directories_inside_of_themselves_end():
    file = bytearray(nef(jpeg(photo(300, 200))))
    (first,) = struct.unpack_from("<I", file, 4)
    at = file.index(struct.pack("<HHI", 330, 4, 3))
    (places,) = struct.unpack_from("<I", file, at + 8)
    struct.pack_into("<I", file, places, first)
    assert READER.pixels(bytes(file)).shape == (200, 300, 3)
