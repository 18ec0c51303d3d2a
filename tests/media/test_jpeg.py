"""Pictures land in the array they are wanted in, with the pixels that Pillow gives."""

import threading
from io import BytesIO

import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hearth.errors import InvalidInput
from hearth.media import ImageReader, images

READER = ImageReader(max_pixels=10_000_000)

PHOTOS = {
    name: Image.fromarray(getattr(skimage.data, name)())
    for name in ("astronaut", "chelsea", "coffee", "camera", "rocket")
}
SIZES = [(224, 224), (223, 225), (17, 31), (16, 16), (1, 1), (7, 300)]


def encode(image: Image.Image, file_format: str = "JPEG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def noise(width: int = 45, height: int = 37) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def never(image: Image.Image) -> Image.Image:
    raise AssertionError("it fits as it is")


def into(payload: bytes, width: int, height: int, fit=never, reader=READER) -> np.ndarray:
    out = np.full((height, width, 3), 77, np.uint8)
    reader.read_into(out, payload, fit, at_least=max(width, height))
    return out


def pillow(payload: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(payload)).convert("RGB"))


# --- JPEGs that fit as they are -------------------------------------------------------------


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_photographs_have_pillows_pixels(name, subsampling, options):
    for quality, size in ((75, SIZES[0]), (95, SIZES[1])):
        picture = PHOTOS[name].convert("RGB").resize(size)
        payload = encode(picture, quality=quality, subsampling=subsampling, **options)
        assert np.array_equal(into(payload, *size), pillow(payload))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"restart_marker_blocks": 2},
        {"restart_marker_rows": 1},
        {"optimize": True, "quality": 100},
        {"quality": 3},
        {"subsampling": "4:4:4"},
        {"keep_rgb": True},
    ],
    ids=str,
)
def test_jpegs_of_every_build_have_pillows_pixels(size, mode, options):
    if mode == "L" and ("keep_rgb" in options or "subsampling" in options):
        options = {}
    payload = encode(noise(*size).convert(mode), **options)
    assert np.array_equal(into(payload, *size), pillow(payload))


def test_rows_of_a_larger_array_can_be_filled():
    slab = np.zeros((3, 37, 45, 3), np.uint8)
    payload = encode(noise())
    READER.read_into(slab[1], payload, never, at_least=45)
    assert np.array_equal(slab[1], pillow(payload))
    assert not slab[0].any()
    assert not slab[2].any()


# --- everything else ------------------------------------------------------------------------


def turned(number: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(encode(noise().convert("CMYK")), id="cmyk"),
        pytest.param(encode(noise(), exif=turned(3)), id="upside down"),
        pytest.param(encode(noise(37, 45), exif=turned(6)), id="on its side"),
        pytest.param(encode(noise(), "PNG"), id="png"),
        pytest.param(encode(noise(), "WEBP", lossless=True), id="webp"),
        pytest.param(encode(noise(90, 37)), id="too wide"),
        pytest.param(encode(noise(450, 370)), id="large"),
    ],
)
def test_what_isnt_a_plain_jpeg_of_that_size_is_made_to_fit(payload):
    seen = []

    def fit(image):
        seen.append(np.asarray(image).copy())
        return image.resize((45, 37))

    out = into(payload, 45, 37, fit)
    [upright] = seen
    assert np.array_equal(upright, np.asarray(READER.read(payload, at_least=45)))
    assert np.array_equal(out, np.asarray(Image.fromarray(upright).resize((45, 37))))


def test_what_fit_raises_isnt_the_pictures_fault():
    with pytest.raises(ZeroDivisionError):
        into(encode(noise(), "PNG"), 45, 37, lambda image: 1 // 0)


@pytest.mark.parametrize("end", [-1, -2, -3, -40, 700, 20, 3, 0])
def test_a_cut_file_is_treated_as_ever(end):
    payload = encode(noise())[:end]
    try:
        expected = np.asarray(READER.read(payload))
    except InvalidInput as error:
        with pytest.raises(InvalidInput) as failure:
            into(payload, 45, 37)
        assert str(failure.value) == str(error)
    else:
        assert np.array_equal(into(payload, 45, 37, lambda image: image), expected)


def test_limits_hold_before_anything_is_decoded():
    payload = encode(noise())
    with pytest.raises(InvalidInput, match="45×37 pixels; at most 1,664"):
        into(payload, 45, 37, reader=ImageReader(45 * 37 - 1))
    assert into(payload, 45, 37, reader=ImageReader(45 * 37)).any()
    header, scan = payload[: payload.index(b"\xff\xda")], payload[payload.index(b"\xff\xda") : -2]
    with pytest.raises(InvalidInput, match="101 scans"):
        into(header + scan * 101 + b"\xff\xd9", 45, 37)


@pytest.mark.parametrize("before", [b"", b"\0"], ids=["even", "odd"])
def test_only_scans_are_counted_as_such(before):
    """Not two bytes of a comment, of a profile or of a film behind the picture."""
    words = before + b"\xff\xda" * 200
    payload = encode(noise(), comment=words, exif=b"Exif\0\0" + words, icc_profile=words) + words
    assert np.array_equal(into(payload, 45, 37), pillow(encode(noise())))


@pytest.mark.parametrize(("scans", "refused"), [(100, False), (101, True)])
def test_scans_are_counted_up_to_a_hundred(scans, refused):
    payload = encode(noise(), progressive=True)
    start = payload.rindex(b"\xff\xda")
    written = payload.count(b"\xff\xda")
    payload = payload[:start] + payload[start:-2] * (scans - written + 1) + b"\xff\xd9"
    if refused:
        with pytest.raises(InvalidInput, match=f"{scans} scans"):
            READER.read(payload)
    else:
        assert READER.read(payload).size == (45, 37)


SEEDS = [
    encode(image.convert(mode), quality=quality, progressive=progressive, **options)
    for image in (noise(), PHOTOS["coffee"].resize((45, 37)))
    for mode in ("RGB", "L", "CMYK")
    for quality in (30, 95)
    for progressive in (False, True)
    for options in ({}, {"restart_marker_blocks": 2})
]


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_broken_jpegs_come_out_as_pillow_reads_them(data):
    payload = bytearray(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(0, 4))):
        last = data.draw(st.sampled_from([120, 700, len(payload)]))
        payload[data.draw(st.integers(0, min(last, len(payload)) - 1))] = data.draw(
            st.one_of(st.integers(0, 255), st.sampled_from([0, 255, 0xD9, 0xDA, 0xD0]))
        )
    if data.draw(st.booleans()):
        del payload[data.draw(st.integers(0, len(payload))) :]
    try:
        expected = np.asarray(READER.read(bytes(payload)))
    except InvalidInput:
        with pytest.raises(InvalidInput):
            into(bytes(payload), 45, 37, lambda image: image)
        return
    height, width, _ = expected.shape
    assert np.array_equal(into(bytes(payload), width, height, lambda image: image), expected)


# --- images that take much memory -----------------------------------------------------------

PLAIN, PROGRESSIVE = encode(noise(300, 200)), encode(noise(300, 200), progressive=True)
PNG = encode(noise(300, 200), "PNG")


def channel_by_channel(payload: bytes) -> bytes:
    """A JPEG whose head announces a scan of its first channel alone, as others may follow."""
    start = payload.index(b"\xff\xda")
    head, coded = payload[start : start + 14], payload[start + 14 :]
    return payload[:start] + b"\xff\xda\x00\x08\x01" + head[5:7] + head[-3:] + coded


@pytest.mark.parametrize(
    ("payload", "alone"),
    [
        pytest.param(PNG, True, id="png"),
        pytest.param(PROGRESSIVE, True, id="progressive jpeg"),
        pytest.param(PLAIN, False, id="jpeg, scaled while it is decoded"),
        pytest.param(encode(noise(300, 200).convert("L")), False, id="grey jpeg"),
        pytest.param(encode(noise(300, 200).convert("CMYK")), False, id="cmyk jpeg"),
        pytest.param(channel_by_channel(PLAIN), True, id="jpeg, one channel after the other"),
        pytest.param(encode(noise(9000, 5)), True, id="jpeg that stays large"),
        pytest.param(encode(noise(30, 20), "PNG"), False, id="small png"),
    ],
)
def test_an_image_that_takes_much_memory_is_read_alone(monkeypatch, payload, alone):
    monkeypatch.setattr(images, "_HEAVY_PIXELS", 10_000)
    reader = ImageReader(10_000_000)
    held = []

    def fit(image):
        held.append(reader._heavy.locked())
        return image.resize((8, 8))

    into(payload, 8, 8, fit, reader)
    assert held == [alone]
    assert not reader._heavy.locked()


def test_many_large_images_all_get_their_turn(monkeypatch):
    monkeypatch.setattr(images, "_HEAVY_PIXELS", 10_000)
    reader = ImageReader(10_000_000)
    payloads = [PNG, PNG[:-200], PROGRESSIVE, PNG, PROGRESSIVE[:300], PLAIN] * 4
    results = []

    def work(payload):
        try:
            reader.read(payload)
            results.append(True)
        except InvalidInput:
            results.append(False)

    threads = [threading.Thread(target=work, args=(payload,)) for payload in payloads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False] * 8 + [True] * 16
