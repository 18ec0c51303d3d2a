"""TIFF files of every layout show the pixels that are in them, or are refused as what they are."""

import itertools
import struct
import time
import warnings
from io import BytesIO

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from hearth.errors import InvalidInput
from hearth.media import FilePage, ImageReader, tiff_samples
from hearth.media import tiff as directories
from hearth.media.formats import page_count
from tiff_kit import HEIGHT, WIDTH, as_samples, colours, recompressed, tiff

READER = ImageReader(10**7)
DTYPES = ("uint8", "uint16", "uint32", "int16", "int32", "float16", "float32", "float64")
LAYOUTS = tuple(itertools.product((False, True), "<>"))
"""Planes apart or not, and the order of bytes."""


def expected(samples: np.ndarray, bits: int = 0) -> np.ndarray:
    """RGB as floats, 0 to 255: by the numbers, and by no reader."""
    values = samples.astype(np.float64)
    top = 1.0 if samples.dtype.kind == "f" else float(2**bits - 1 if bits else values.max())
    shown = values * (255 / top)
    return np.repeat(shown[..., None], 3, axis=2) if samples.ndim == 2 else shown


def near(payload: bytes, right: np.ndarray, most: float = 1.01) -> None:
    pixels = READER.pixels(payload)
    assert pixels.shape == right.shape
    assert np.abs(pixels - right).max() <= most
    assert np.array_equal(pixels, np.asarray(READER.read(payload)))


def with_numbers(**changes: int) -> bytes:
    """An uncompressed 16-bit TIFF of planes with other numbers in its fields."""
    payload = bytearray(tiff(as_samples(colours(), "uint16"), planar=True, photometric="rgb"))
    with tifffile.TiffFile(BytesIO(payload)) as file:
        for name, number in changes.items():
            tag = file.pages[0].tags[name]
            struct.pack_into("<" + {3: "H", 4: "I"}[tag.dtype], payload, tag.valueoffset, number)
    return bytes(payload)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compression", [None, "zlib", "lzma"])
def test_colours_of_every_depth_in_every_layout(dtype, compression):
    samples = as_samples(colours(), dtype)
    for planar, order in LAYOUTS:
        for strip in (7, HEIGHT):
            payload = tiff(samples, planar=planar, photometric="rgb", byteorder=order,
                           compression=compression, rowsperstrip=strip)  # fmt: skip
            assert np.array_equal(
                tifffile.imread(BytesIO(payload)),
                np.moveaxis(samples, -1, 0) if planar else samples,
            )
            near(payload, expected(samples))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "zstd", "tiff_adobe_deflate"])
def test_what_libtiff_has_compressed(dtype, compression):
    samples = as_samples(colours(), dtype)
    for planar, order in LAYOUTS:
        plain = tiff(samples, planar=planar, photometric="rgb", byteorder=order, rowsperstrip=7)
        near(recompressed(plain, compression), expected(samples))


@pytest.mark.parametrize("dtype", [*DTYPES, "int8"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_greys_of_every_depth(dtype, photometric):
    samples = as_samples(colours()[..., 2], dtype)
    right = expected(samples)
    for order, compression in itertools.product("<>", (None, "zlib")):
        payload = tiff(samples, photometric=photometric, byteorder=order, compression=compression)
        near(payload, right if photometric == "minisblack" else 255 - right)


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 10, 12, 14, 15])
def test_samples_that_fill_no_bytes(bits):
    """tifffile writes such without imagecodecs only as booleans: the bits are packed here."""
    levels = (colours() * (2**bits - 1)).round().astype(np.uint16)
    for channels in (1, 3):
        pixels = levels[..., :channels]
        rows = np.unpackbits(pixels.reshape(HEIGHT, -1, 1).astype(">u2").view(np.uint8), axis=2)
        packed = np.packbits(rows[..., 16 - bits :].reshape(HEIGHT, -1), axis=1)
        # As bytes first, and then with the true widths told.
        payload = bytearray(tiff(packed, photometric="minisblack", rowsperstrip=7))
        with tifffile.TiffFile(BytesIO(payload)) as file:
            tags = file.pages[0].tags
            for tag, number in (
                ("ImageWidth", WIDTH),
                ("BitsPerSample", bits),
                ("SamplesPerPixel", channels),
                ("PhotometricInterpretation", 2 if channels == 3 else 1),
            ):
                kind = {3: "H", 4: "I"}[tags[tag].dtype]
                struct.pack_into("<" + kind, payload, tags[tag].valueoffset, number)  # fmt: skip
        right = expected(pixels[..., 0] if channels == 1 else pixels, bits)
        near(bytes(payload), right)
        near(recompressed(bytes(payload), "tiff_lzw"), right)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
def test_differences_of_whole_numbers(dtype):
    samples = as_samples(colours(), dtype)
    for planar, order in LAYOUTS:
        near(tiff(samples, planar=planar, photometric="rgb", byteorder=order, compression="zlib",
                  predictor=True), expected(samples))  # fmt: skip


@pytest.mark.parametrize("predictor", [1, 2, 3])
@pytest.mark.parametrize("compression", [5, 8], ids=["LZW", "Deflate"])
@pytest.mark.parametrize("channels", [1, 3])
def test_floats_as_libtiff_writes_their_differences(predictor, compression, channels):
    samples = as_samples(colours(), "float32")
    samples = samples[..., 2] if channels == 1 else samples
    done, payload = cv2.imencode(
        ".tif",
        samples[..., ::-1] if channels == 3 else samples,
        [cv2.IMWRITE_TIFF_COMPRESSION, compression, cv2.IMWRITE_TIFF_PREDICTOR, predictor],
    )
    assert done
    near(payload.tobytes(), expected(samples))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_tiles_and_large_files(dtype):
    samples = as_samples(colours(), dtype)
    for planar, order in LAYOUTS:
        for more in ({"tile": (16, 16)}, {"tile": (32, 48)}, {"bigtiff": True}):
            for compression in (None, "zlib"):
                near(tiff(samples, planar=planar, photometric="rgb", byteorder=order,
                          compression=compression, **more), expected(samples))  # fmt: skip


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("extra", ["unassalpha", "unspecified"])
def test_colours_beside_alpha_or_other_channels(dtype, extra):
    for channels, beside, planar in itertools.product((1, 3), (1, 2), (False, True)):
        shares = np.dstack([colours()[..., :channels], *[colours()[..., 1] / 2] * beside])
        samples = as_samples(shares, dtype)
        payload = tiff(samples, planar=planar, photometric="rgb" if channels == 3 else "minisblack",
                       extrasamples=[extra, *["unspecified"] * (beside - 1)])  # fmt: skip
        shown = samples[..., :channels]
        top = shares[..., :channels].max() if dtype == "float32" else 1
        assert top == 1
        near(payload, expected(shown[..., 0] if channels == 1 else shown,
                               0 if dtype == "float32" else 8 * samples.itemsize))  # fmt: skip


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_colours_that_were_multiplied_by_their_alpha(dtype):
    alpha = 0.5 + colours()[..., :1] / 2
    for planar in (False, True):
        samples = as_samples(np.dstack([colours() * alpha, alpha]), dtype)
        payload = tiff(samples, planar=planar, photometric="rgb", extrasamples=["assocalpha"])
        near(payload, colours() * 255, most=3)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_inks(dtype):
    samples = as_samples(np.dstack([colours(), colours()[..., 0] / 4]), dtype)
    inks = (samples >> (8 * samples.itemsize - 8)).astype(np.uint8)
    right = np.asarray(Image.fromarray(inks, "CMYK").convert("RGB")).astype(float)
    for planar, compression in itertools.product((False, True), (None, "zlib")):
        near(tiff(samples, planar=planar, photometric="separated", compression=compression), right,
             most=2.01)  # fmt: skip


def test_cielab_is_shown_as_colours():
    lab = np.zeros((20, 30, 3), np.uint8)
    lab[..., 0] = np.linspace(0, 255, 30)
    greys = READER.pixels(tiff(lab, photometric="cielab")).astype(int)
    # CIE 1976, L* = 116·∛Y - 16; sRGB's own curve from there.
    lightness = lab[0, :, 0] * (100 / 255)
    y = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3)
    srgb = np.where(y > 0.0031308, 1.055 * y ** (1 / 2.4) - 0.055, 12.92 * y) * 255
    assert np.abs(greys[0] - srgb[:, None]).max() <= 2


def test_lights_brighter_than_paper_leave_the_picture_as_it_is():
    samples = as_samples(colours(), "float32")
    samples[:3, :3] = 40
    samples[5, 5] = np.nan
    pixels = READER.pixels(tiff(samples, photometric="rgb")).astype(float)
    assert (pixels[:3, :3] == 255).all() and (pixels[5, 5] == 0).all()
    assert np.abs(pixels[10:] - colours()[10:] * 255).max() <= 1


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (tiff(np.zeros((9, 9), np.complex64), photometric="minisblack"), "1×64-bit complex"),
        (tiff(np.zeros((9, 9, 3), np.uint16), photometric="cielab"), "3×16-bit CIELab"),
        (tiff(np.zeros((9, 9, 3), np.uint8), planar=True, photometric="ycbcr"), "planar YCbCr"),
        (tiff(np.zeros((9, 9, 3), np.uint8), photometric="icclab"), "interpretation 9"),
        (with_numbers(Compression=34712), "3×16-bit planar samples, compressed with JPEG 2000"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_refused_as_what_it_is(payload, words):
    with pytest.raises(InvalidInput, match=f"a TIFF of .*{words}.*not read here; send") as caught:
        READER.read(payload)
    assert "broken" not in str(caught.value)


def pages_of(*greys: int, **options: object) -> bytes:
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer, **options) as writer:
        for grey in greys:
            writer.write(np.full((20, 30), grey, np.uint8), metadata=None, photometric="minisblack")
    return buffer.getvalue()


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}])
def test_each_page_is_its_own_picture(options):
    payload = pages_of(10, 20, 30, **options)
    assert page_count(payload) == 3
    for page in (1, 2, 3):
        assert (READER.pixels(FilePage(payload, page)) == 10 * page).all()
    with pytest.raises(InvalidInput, match="page = 4: this TIFF has 3 pages"):
        READER.read(FilePage(payload, 4))


def test_previews_and_masks_are_no_pages():
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for grey, kind in ((1, 1), (100, 0), (2, 4), (3, 1), (200, 2)):
            pixels = np.full((20, 30), grey, bool if kind == 4 else np.uint8)
            writer.write(pixels, metadata=None, subfiletype=kind, photometric="minisblack")
    payload = buffer.getvalue()
    assert page_count(payload) == 2
    assert (READER.pixels(payload) == 100).all()
    assert (READER.pixels(FilePage(payload, 2)) == 200).all()


def test_a_preview_alone_is_no_picture():
    with pytest.raises(InvalidInput, match="no picture but a preview"):
        READER.read(tiff(np.zeros((9, 9), np.uint8), photometric="minisblack", subfiletype=1))


def test_directories_that_lead_in_circles_end():
    payload = bytearray(pages_of(10, 20))
    first, second = directories.read_directories(bytes(payload)).top
    at = payload.rindex(bytes(4), 0, len(payload))  # the last directory's next
    for place in range(second.offset, len(payload) - 3):
        if payload[place : place + 4] == bytes(4):
            at = place
    payload[at : at + 4] = struct.pack("<I", first.offset)
    assert page_count(bytes(payload)) == 2
    assert (READER.pixels(bytes(payload)) == 10).all()


def test_more_directories_than_any_document_has_are_refused():
    count = directories.MOST_DIRECTORIES + 1
    body = b"".join(struct.pack("<HI", 0, 8 + 6 * (n + 1)) for n in range(count))
    began = time.process_time()
    with pytest.raises(InvalidInput, match="more than 10,000"):
        READER.read(b"II*\0" + struct.pack("<I", 8) + body)
    assert time.process_time() - began < 5


def directory(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
    """Entries are tag, type, count and value."""
    fields = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<H", len(entries)) + fields + struct.pack("<I", following)


def test_directories_that_share_their_entries_cost_no_more_than_others():
    """Nine thousand of 4,096 entries each, in 170 KB: read one by one they took gigabytes."""
    step, inside = 18 + 4 * 8, 8
    shared = 8 + 1000 * step
    body = b""
    for number in range(1000):
        at = 8 + number * step
        offsets = [shared + 2 * (inside * number + place) for place in range(inside)]
        body += directory((330, 4, inside, at + 18), following=(at + step) * (number < 999))
        body += struct.pack(f"<{inside}I", *offsets)
    payload = b"II*\0" + struct.pack("<I", 8) + body + b"\0\x10" * 60_000
    found = directories.read_directories(payload)
    assert (len(found.top), len(found.inside)) == (1000, 8000)
    assert page_count(payload) == 1000


def test_a_long_scan_is_read_whole():
    step = 6 + 12 * 20
    body = b"".join(
        directory(*((tag, 4, 1, 9) for tag in range(256, 276)),
                  following=(8 + step * (page + 1)) * (page < 9_999))
        for page in range(10_000)
    )  # fmt: skip
    assert page_count(b"II*\0" + struct.pack("<I", 8) + body) == 10_000


@pytest.mark.parametrize(
    ("kind", "value"),
    [(11, 0x7FC00000), (11, 0x7F800000), (11, 0x41000000), (9, 0xFFFFFFF0), (8, 0xFFF0)],
)  # fmt: skip
def test_offsets_that_are_no_offsets_lead_nowhere(kind, value):
    """Not a number, infinite, a fraction; and below 0, which would be counted from the end."""
    payload = bytearray(pages_of(10, 20))
    first, _ = directories.read_directories(bytes(payload)).top
    (count,) = struct.unpack_from("<H", payload, first.offset)
    end = first.offset + 2 + 12 * count
    (following,) = struct.unpack_from("<I", payload, end)
    entries = struct.iter_unpack("<HHII", payload[first.offset + 2 : end])
    inside = directory(*entries, (330, kind, 1, value), following=following)
    payload[4:8] = struct.pack("<I", len(payload))
    payload += inside + directory((256, 4, 1, 9)) * 4
    assert directories.read_directories(bytes(payload)).inside == []
    assert page_count(bytes(payload)) == 2
    assert (READER.pixels(bytes(payload)) == 10).all()


@pytest.mark.parametrize("tag", ["ImageWidth", "StripOffsets"])
def test_numbers_below_zero_are_none(tag):
    payload = bytearray(tiff(np.full((20, 30), 9, np.uint16), photometric="minisblack"))
    with tifffile.TiffFile(BytesIO(payload)) as file:
        at = file.pages[0].tags[tag].offset
    struct.pack_into("<HIi", payload, at + 2, 9, 1, -5)
    with pytest.raises(InvalidInput, match="broken"):
        READER.read(bytes(payload))


@pytest.mark.parametrize(
    "changes",
    [
        {"ImageWidth": 60_000, "ImageLength": 60_000},
        {"ImageWidth": 0},
        {"SamplesPerPixel": 65_535},
        {"RowsPerStrip": 1},
        {"RowsPerStrip": 0xFFFF},
        {"StripOffsets": 0xFFFFFF},
        {"StripByteCounts": 1},
        {"StripByteCounts": 0xFFFF},
        {"Compression": 5},
        {"Compression": 8},
    ],
)
def test_numbers_that_lie_cost_nothing(changes):
    try:
        pixels = READER.pixels(with_numbers(**changes))
    except InvalidInput as error:
        assert "\n" not in str(error)
    else:
        assert pixels.shape == (HEIGHT, WIDTH, 3)


GREY = np.random.default_rng(2).integers(1, 255, (100, 100), np.uint8)
FIELDS = {256: 100, 257: 100, 258: 8, 259: 1, 262: 1, 277: 1, 278: 10}


def built(fields: dict[int, int | list[int]], body: bytes = GREY.tobytes()) -> bytes:
    """A TIFF of these fields, as 32-bit numbers, and with ``body`` from byte 2000 on."""
    entries, lists = b"", b""
    for tag, value in sorted(fields.items()):
        values = value if isinstance(value, list) else [value]
        if len(values) > 1:
            place = struct.pack("<I", 1000 + len(lists))
            lists += struct.pack(f"<{len(values)}I", *values)
        else:
            place = struct.pack("<I", *values)
        entries += struct.pack("<HHI", tag, 4, len(values)) + place
    head = b"II*\0" + struct.pack("<IH", 8, len(fields)) + entries
    return (head.ljust(1000, b"\0") + lists).ljust(2000, b"\0") + body


def grey_of(sizes: list[int], bits: int = 8, offsets: int = 10, step: int = 1000, **more) -> bytes:
    """``GREY`` in ten strips, as far as they are there."""
    places = [2000 + step * n for n in range(offsets)]
    return built({**FIELDS, 258: bits, 257: 800 // bits, 278: 80 // bits,
                  273: places, 279: sizes}, **more)  # fmt: skip


@pytest.mark.parametrize("bits", [8, 16])
def test_a_picture_that_lacks_strips_or_tiles_is_refused(bits):
    whole, height = [1000] * 10, 800 // bits
    count = 7 * -(-height // 16) - 1
    tiles = {256: 100, 257: height, 322: 16, 323: 16, 324: [2000] * count, 325: [512] * count}
    lacking = {
        "half of the strips": grey_of([1000] * 5, bits, offsets=5),
        "all but one": grey_of([1000], bits, offsets=1),
        "the last one's end": grey_of(whole, bits)[:-1],
        "every strip's end": grey_of([500] * 10, bits, step=500),
        "tiles": built({**{tag: FIELDS[tag] for tag in (259, 262, 277)}, 258: bits, **tiles}),
    }
    for payload in lacking.values():
        with pytest.raises(InvalidInput, match="broken or cut short"):
            READER.read(payload)


@pytest.mark.parametrize("bits", [8, 16])
def test_sizes_that_are_wrong_take_no_pixels_away(bits):
    right = READER.pixels(grey_of([1000] * 10, bits))
    if bits == 8:
        assert np.array_equal(right[..., 0], GREY)
    for sizes in ([0] * 10, [10] * 10, [9999] * 10, [1000] * 9 + [1]):
        assert np.array_equal(READER.pixels(grey_of(sizes, bits)), right)


def test_a_strip_of_more_bytes_than_pillow_allows_pixels_is_read(monkeypatch):
    samples = as_samples(colours(), "uint16")
    payload = tiff(samples, photometric="rgb", compression="zlib", rowsperstrip=HEIGHT)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", WIDTH * HEIGHT)
    near(payload, expected(samples, 16))


def test_floats_beyond_all_scales_show_without_a_word():
    samples = np.full((2, 600), 1.0)
    samples[0, :6] = 1e300, np.inf, 1e39, -1e300, -np.inf, np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown = READER.pixels(tiff(samples, photometric="minisblack"))
    assert shown[0, :7, 0].tolist() == [255, 255, 255, 0, 0, 0, 255]


@pytest.mark.parametrize("tag", [258, 282, 338, 339])
@pytest.mark.parametrize("kind", [4, 5])
def test_fields_of_millions_of_values_cost_nothing(tag, kind):
    count = 2_000_000
    field = struct.pack("<HHII", tag, kind, count, 2000)
    whole = built({**FIELDS, 273: [2000 + 1000 * n for n in range(10)], 279: [1000] * 10, tag: 8},
                  bytes(range(1, 201)) * 80_000)  # fmt: skip
    payload = whole.replace(struct.pack("<HHII", tag, 4, 1, 8), field)
    assert payload != whole
    began = time.process_time()
    with pytest.raises(InvalidInput, match=f"field {tag} has 2,000,000 values"):
        READER.read(payload)
    assert time.process_time() - began < 1


def test_a_picture_in_more_strips_than_any_has_is_refused():
    tiny = {**FIELDS, 256: 3000, 257: 3000, 322: 1, 323: 1, 324: 2000}
    with pytest.raises(InvalidInput, match="in 9,000,000 strips or tiles; at most 250,000"):
        READER.read(built(tiny))


def test_a_large_picture_is_read_in_parts(monkeypatch):
    samples = as_samples(colours(), "float32")
    files = [tiff(samples, planar=planar, photometric="rgb", compression="zlib", rowsperstrip=3)
             for planar in (False, True)]  # fmt: skip
    whole = [READER.pixels(file) for file in files]
    for most in (1, 1000, 5000):
        monkeypatch.setattr(tiff_samples, "_GROUP", most)
        for file, pixels in zip(files, whole, strict=True):
            assert np.array_equal(READER.pixels(file), pixels)
