"""What libjpeg-turbo and libpng decode to all pixels is read, bit for bit; what lacks some isn't.

OpenCV has a libjpeg-turbo and a libpng of its own, and shares nothing with Pillow.
"""

import struct
import time
import zlib

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from damage_kit import (
    FILM,
    JPEGS,
    OTHERS,
    PHOTO,
    PNGS,
    chunk,
    damaged,
    encoded,
    segment,
    tail,
)
from hearth.errors import InvalidInput
from hearth.media import ImageReader, PixelForm
from hearth.media.jpeg_file import MOST_SCANS, JpegFile
from hearth.media.png_file import PngFile

READER = ImageReader(max_pixels=1_000_000)
SEEDS = range(40)


def read(payload: bytes) -> np.ndarray | None:
    """What the reader gives by each of its roads, which must agree; None where it refuses."""
    began = time.thread_time()
    answers = [_or_none(road, payload) for road in (_pixels, _image, _row)]
    assert time.thread_time() - began < 5
    pixels, image, row = answers
    assert (pixels is None) == (image is None) == (row is None)
    if pixels is None:
        return None
    assert np.array_equal(pixels, image)
    if pixels.shape == row.shape:
        assert np.array_equal(pixels, row)
    return pixels


def _or_none(road, payload):
    try:
        return road(payload)
    except InvalidInput as error:
        assert "\n" not in str(error)
        return None


def _pixels(payload: bytes) -> np.ndarray:
    return READER.pixels(payload)


def _image(payload: bytes) -> np.ndarray:
    return np.asarray(READER.read(payload))


def _row(payload: bytes) -> np.ndarray:
    out = np.zeros((61, 75, 3), np.uint8)
    READER.read_into(out, payload, lambda image: image.resize((75, 61)), at_least=75)
    return out


def by_opencv(payload: bytes) -> np.ndarray | None:
    """As libjpeg-turbo and libpng decode it, as far as they come; None where they fail."""
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        return cv2.imdecode(np.frombuffer(payload, np.uint8), flags)
    except cv2.error:
        return None


def is_flawless(payload: bytes) -> bool:
    """Whether libjpeg-turbo finds nothing to warn of."""
    try:
        simplejpeg.decode_jpeg(payload, strict=True)
    except ValueError:
        return False
    return True


# --- any damage -------------------------------------------------------------------------------

COLOURS = [name for name in JPEGS if "cmyk" not in name]  # OpenCV's own formula for inks differs


@pytest.mark.parametrize("name", COLOURS)
def test_a_damaged_jpeg_is_what_libjpeg_makes_of_it_or_refused(name):
    answered = 0
    for seed in SEEDS:
        payload = damaged(JPEGS[name], np.random.default_rng(seed))
        pixels, expected = read(payload), by_opencv(payload)
        if pixels is not None and expected is not None:
            assert np.array_equal(pixels, expected), seed
            answered += 1
        if is_flawless(payload):
            assert pixels is not None, seed
    assert answered > len(SEEDS) / 5


@pytest.mark.parametrize("name", PNGS)
def test_a_damaged_png_is_read_where_libpng_does_and_nowhere_else_with_other_pixels(name):
    undamaged = READER.pixels(PNGS[name])
    answered = 0
    for seed in SEEDS:
        payload = damaged(PNGS[name], np.random.default_rng(seed))
        pixels, expected = read(payload), by_opencv(payload)
        if expected is not None:
            assert pixels is not None, seed
            assert np.array_equal(pixels, expected), seed
        if pixels is not None:
            assert np.array_equal(pixels, undamaged), seed
            answered += 1
    assert answered > 1


@pytest.mark.parametrize("name", [*OTHERS, "cmyk", "progressive cmyk"])
def test_any_other_damaged_file_is_read_alike_on_all_roads_or_refused(name):
    for seed in SEEDS:
        read(damaged({**OTHERS, **JPEGS}[name], np.random.default_rng(seed)))


# --- JPEG: around the pixels ------------------------------------------------------------------


def without_end(payload: bytes) -> bytes:
    return payload[:-2]


AROUND_JPEG = {
    "a film behind": lambda file, rng: file + FILM + rng.bytes(100_000) + b"\xff\xda" * 200,
    "another picture behind": lambda file, rng: file + encoded(PHOTO.rotate(90), "JPEG"),
    "measurements in front": lambda file, rng: (
        file[:2] + segment(0xE3, b"\xff\xda" * 30_000) * 20 + file[2:]
    ),
    "a comment that looks like scans": lambda file, rng: (
        file[:2] + segment(0xFE, b"\xff\xda\xff\xd9" * 300) + file[2:]
    ),
    "no end": lambda file, rng: without_end(file),
    "half an end": lambda file, rng: file[:-1],
    "no end, but zeros": lambda file, rng: without_end(file) + bytes(5000),
    "no end, but FF": lambda file, rng: without_end(file) + b"\xff" * 5000,
    "no end, but a film": lambda file, rng: without_end(file) + FILM + rng.bytes(100_000),
    "no end, but a text": lambda file, rng: without_end(file) + b"Written by a camera.",
    "no end, but anything": lambda file, rng: without_end(file) + rng.bytes(20_000),
    "filling bytes": lambda file, rng: (
        file[:2] + b"\xff" * 99 + file[2:-2] + b"\xff" * 9 + file[-2:]
    ),
    "rubbish between segments": lambda file, rng: b"rubbish\xff\xdb".join(
        file.rsplit(b"\xff\xdb", 1)
    ),
    "a broken profile": lambda file, rng: (
        file[:2] + segment(0xE2, b"ICC_PROFILE\0\x07\x02" + rng.bytes(99)) + file[2:]
    ),
    "broken Exif": lambda file, rng: file[:2] + segment(0xE1, b"Exif\0\0II*\0\xff") + file[2:],
    "short segments of applications": lambda file, rng: (
        file[:2] + b"".join(segment(0xE0 + number, b"J") for number in range(16)) + file[2:]
    ),
    "no length in a comment": lambda file, rng: file[:2] + b"\xff\xfe\0\0" + file[2:],
}  # fmt: skip


@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize("what", AROUND_JPEG)
def test_what_stands_around_a_jpegs_pixels_changes_none(what, name):
    payload = AROUND_JPEG[what](JPEGS[name], np.random.default_rng(7))
    assert np.array_equal(read(payload), READER.pixels(JPEGS[name]))
    scaled = READER.read(payload, at_least=15)
    assert np.array_equal(scaled, READER.read(JPEGS[name], at_least=15))


@pytest.mark.parametrize("name", JPEGS)
def test_a_jpeg_that_is_cut_is_refused_whatever_stands_behind_it(name):
    rng = np.random.default_rng(11)
    size = len(JPEGS[name])
    for lost in (20, 200, size // 3, size // 2):
        cut = JPEGS[name][: size - lost]
        for behind in (b"", bytes(5000), FILM + rng.bytes(9000), b"\xff\xd9", b"\xff" * 99):
            assert read(cut + behind) is None, (lost, behind[:9])
            with pytest.raises(InvalidInput, match="broken or cut short"):
                READER.read(cut + behind, at_least=15)


def test_the_end_of_flat_pixels_is_found_among_zeros():
    """Their coded data may end with zeros itself, or hold nothing else."""
    for colour, mode in (("white", "RGB"), ("black", "L"), ("white", "L")):
        for optimize in (False, True):
            payload = encoded(Image.new(mode, (64, 64), colour), "JPEG", optimize=optimize)
            assert np.array_equal(read(without_end(payload)), READER.pixels(payload))


def scans(payload: bytes, count: int) -> bytes:
    """The JPEG with its last scan over and over again."""
    head, scan = payload[: payload.rindex(b"\xff\xda")], payload[payload.rindex(b"\xff\xda") : -2]
    return head + scan * count + b"\xff\xd9"


@pytest.mark.parametrize("name", ["baseline", "progressive"])
def test_hundreds_of_scans_are_refused_with_and_without_an_end(name):
    bomb = scans(JPEGS[name], 400)
    for payload in (bomb, bomb[:-2], bomb + FILM):
        with pytest.raises(InvalidInput, match=f"{MOST_SCANS + 1} scans or more"):
            READER.pixels(payload)


def test_a_jpeg_of_nothing_but_segments_is_refused_soon():
    with pytest.raises(InvalidInput, match="segments"):
        READER.pixels(b"\xff\xd8" + b"\xff\xe3\0\2" * 3_000_000)
    for filling in (b"\xff", b"\xff\0", b"\0", b"\xff\xd0"):
        began = time.thread_time()
        with pytest.raises(InvalidInput):
            READER.pixels(b"\xff\xd8\xff" + filling * 4_000_000)
        assert time.thread_time() - began < 5


def test_segments_are_found_where_they_stand():
    file = JpegFile(JPEGS["with metadata"] + FILM)
    assert (file.width, file.height, file.components) == (75, 61, 3)
    assert file.profile == bytes(range(256)) * 4
    assert file.exif.startswith(b"Exif\0\0")
    assert not file.has_multiple_scans
    assert JpegFile(JPEGS["progressive"]).has_multiple_scans


# --- PNG: around the pixels -------------------------------------------------------------------

TEXTS = {
    "a long zTXt": chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(5_000_000))),
    "a long iTXt": chunk(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(bytes(5_000_000))),
    "a long tEXt": chunk(b"tEXt", b"k\0" + b"x" * 3_000_000),
    "a long profile": chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(5_000_000))),
    "broken packing": chunk(b"zTXt", b"k\0\0nonsense") + chunk(b"iCCP", b"p\0\0nonsense"),
    "empty chunks": b"".join(chunk(kind, b"") for kind in (b"sRGB", b"gAMA", b"pHYs", b"cHRM",
                             b"bKGD", b"tIME", b"tEXt", b"iTXt", b"iCCP", b"eXIf")),
    "an unknown chunk": chunk(b"prVt", b"something"),
    "broken Exif": chunk(b"eXIf", b"II*\0\xff\xff"),
    **{
        f"a wrong checksum in {kind.decode()}": chunk(kind, b"k\0\0\0\0\0something", 1)
        for kind in (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"pHYs", b"gAMA", b"tRNS")
    },
}  # fmt: skip


@pytest.mark.parametrize("what", TEXTS)
def test_what_isnt_pixels_in_a_png_changes_none(what):
    for name in ("RGB", "palette", "LA", "interlaced"):
        file = PNGS[name]
        first, data, end = 33, file.index(b"IDAT") - 4, file.index(b"IEND") - 4
        undamaged = by_opencv(file)
        for at in (first, data, end):
            payload = file[:at] + TEXTS[what] + file[at:]
            assert np.array_equal(read(payload), undamaged), at
    assert np.array_equal(read(file + TEXTS[what] * 2), undamaged)


@pytest.mark.parametrize("name", PNGS)
def test_bytes_behind_a_png_and_no_end_change_nothing(name):
    rng = np.random.default_rng(3)
    file = PNGS[name]
    for payload in (file + FILM + rng.bytes(999), file[:-12], file[:-5], file[:-12] + tail(rng)):
        assert np.array_equal(read(payload), by_opencv(file))


def test_thousands_of_metadata_chunks_cost_no_more_than_one():
    profile = chunk(b"iCCP", b"p\0\0" + zlib.compress(b"first" * 800_000))
    other = chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(4_000_000)))
    raw = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"z" * 4_000_000))
    head, rest = PNGS["RGB"][:33], PNGS["RGB"][33:]
    payload = head + profile + 3000 * (other + raw) + rest
    assert PngFile(payload).profile == b"first" * 800_000
    began = time.process_time()
    assert np.array_equal(READER.pixels(payload, PixelForm.SRGB), READER.pixels(PNGS["RGB"]))
    assert time.process_time() - began < 5


def rebuilt(file: bytes, data: bytes, **options: int) -> bytes:
    """The PNG with other data."""
    at = file.index(b"IDAT") - 4
    return file[:at] + chunk(b"IDAT", data, **options) + chunk(b"IEND", b"")


def data_of(file: bytes) -> bytes:
    at = file.index(b"IDAT")
    return file[at + 4 : at + 4 + int.from_bytes(file[at - 4 : at])]


@pytest.mark.parametrize("name", ["RGB", "palette", "LA", "interlaced"])
def test_a_png_that_lacks_pixels_is_refused(name):
    file, data = PNGS[name], data_of(PNGS[name])
    rows = zlib.decompress(data)
    lacking = {
        "a wrong checksum": rebuilt(file, data, checksum=1),
        "cut data": rebuilt(file, data[:-200]),
        "fewer rows": rebuilt(file, zlib.compress(rows[: len(rows) // 2])),
        "one byte less": rebuilt(file, zlib.compress(rows[:-1])),
        "other data": rebuilt(file, data[:-4] + b"abcd"),
        "no data": rebuilt(file, b""),
        "cut file": file[: file.index(b"IDAT") + len(data) // 2],
        "rubbish behind the cut": file[: file.index(b"IDAT") + len(data) // 2] + bytes(9999),
    }
    for what, payload in lacking.items():
        assert read(payload) is None, what
        assert by_opencv(payload) is None, what


def by_hand(kind: int, bits: int, size: tuple[int, int], interlaced: bool) -> tuple[bytes, bytes]:
    """A PNG's head for any layout, and its data: all zeros, rows of the passes after each other."""
    width, height = size
    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, interlaced)
    palette = chunk(b"PLTE", bytes(range(6))) if kind == 3 else b""
    starts = [(0, 0, 1, 1)]
    if interlaced:  # 8.1: the seven passes
        starts = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4),
                  (1, 0, 2, 2), (0, 1, 1, 2)]  # fmt: skip
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    rows = b""
    for left, top, across, down in starts:
        columns, count = len(range(left, width, across)), len(range(top, height, down))
        rows += bytes(count * (1 + -(-columns * samples * bits // 8))) if columns else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + palette, rows


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(
    ("kind", "bits"),
    [(0, 1), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 2), (3, 8), (4, 8), (6, 8), (6, 16)],
)
def test_dark_and_transparent_pictures_are_unpacked_once_and_no_row_is_overlooked(
    kind, bits, interlaced, monkeypatch
):
    """All zeros, as what Pillow leaves where rows are missing; of all lengths, to the last byte."""
    unpacked = []
    is_whole = PngFile.is_whole
    monkeypatch.setattr(PngFile, "is_whole", lambda file: unpacked.append(file) or is_whole(file))
    for size in ((40, 30), (41, 31), (33, 1), (40, 2)):
        head, rows = by_hand(kind, bits, size, interlaced)
        for data in (rows, rows[:-1], rows[: len(rows) // 2]):
            file = head + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
            unpacked.clear()
            pixels = read(file)
            if data == rows:
                assert np.array_equal(pixels, by_opencv(file))
                assert unpacked == []
            else:
                assert pixels is None


def test_black_rows_at_the_end_are_no_missing_ones():
    for mode in ("RGB", "RGBA", "L", "1", "P"):
        payload = encoded(Image.new(mode, (40, 30)), "PNG")
        assert np.array_equal(read(payload), by_opencv(payload))
        many = [payload[:33], *(chunk(b"IDAT", data_of(payload)[at : at + 1]) for at in
                range(len(data_of(payload)))), chunk(b"IEND", b"")]  # fmt: skip
        if mode != "P":
            assert np.array_equal(read(b"".join(many)), by_opencv(payload))


def test_the_orientation_of_a_png_is_found_in_all_its_places():
    """Behind the pixels, in XMP, and as ImageMagick wrote it before there was a chunk for it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    packed = exif.tobytes()
    digits = f"\nexif\n{len(packed)}\n{packed.hex()}\n".encode()
    places = [
        (chunk(b"eXIf", packed.removeprefix(b"Exif\0\0")), b"IDAT"),
        (chunk(b"eXIf", packed.removeprefix(b"Exif\0\0")), b"IEND"),
        (chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation='6' />"
                        .replace(b"'", b'"')), b"IDAT"),
        (chunk(b"tEXt", b"Raw profile type exif\0" + digits), b"IDAT"),
        (chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(digits)), b"IDAT"),
    ]  # fmt: skip
    upright = np.rot90(np.asarray(PHOTO), -1)
    for place, before in places:
        at = PNGS["RGB"].index(before) - 4
        assert np.array_equal(READER.pixels(PNGS["RGB"][:at] + place + PNGS["RGB"][at:]), upright)
