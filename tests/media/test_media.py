"""Every format, mode and orientation comes out as the upright RGB image it shows."""

import contextlib
import subprocess
import sys
import threading
from io import BytesIO

import cv2
import numpy as np
import pytest
import skimage.data
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from hearth.errors import InvalidInput
from hearth.media import HeavyPayload, ImageReader
from heif_kit import CASES
from raw_kit import jpeg, nef

READER = ImageReader(max_pixels=10_000_000)
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "GIF", "TIFF")


def photo(width: int = 60, height: int = 40) -> Image.Image:
    return Image.fromarray(skimage.data.astronaut()).resize((width, height))


def encode(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    buffer = BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def read(payload: bytes) -> np.ndarray:
    image = READER.read(payload)
    assert image.mode == "RGB"
    pixels = READER.pixels(payload)
    assert pixels.flags.c_contiguous and np.array_equal(pixels, np.asarray(image))
    return pixels


def reference(payload: bytes) -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(payload))).convert("RGB"))


MODES = {
    "JPEG": ("RGB", "L", "1", "CMYK", "YCbCr"),
    "PNG": ("RGB", "L", "1", "P", "RGBA", "LA"),
    "WEBP": ("RGB", "L", "RGBA"),
    "AVIF": ("RGB", "L", "RGBA"),
    "BMP": ("RGB", "L", "1", "P", "RGBA"),
    "GIF": ("RGB", "L", "1", "P", "RGBA"),
    "TIFF": ("RGB", "L", "1", "P", "RGBA", "LA", "PA", "CMYK", "YCbCr"),
}


@pytest.mark.parametrize(
    ("file_format", "mode"), [(name, mode) for name in FORMATS for mode in MODES[name]]
)
def test_a_file_decodes_as_pillow_converts_it(file_format: str, mode: str) -> None:
    payload = encode(photo().convert(mode), file_format)
    assert np.array_equal(read(payload), reference(payload))


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", {"big_tiff": True}),
    ],
)
def test_lossless_files_keep_every_pixel(file_format: str, options: dict[str, object]) -> None:
    assert np.array_equal(read(encode(photo(), file_format, **options)), np.asarray(photo()))


def test_transparent_pixels_show_the_colour_stored_under_them() -> None:
    pixels = np.dstack([np.asarray(photo()), np.zeros((40, 60), np.uint8)])
    for payload in (
        encode(Image.fromarray(pixels), "PNG"),
        encode(Image.fromarray(pixels), "WEBP", lossless=True, exact=True),
        encode(Image.fromarray(pixels), "TIFF"),
    ):
        assert np.array_equal(read(payload), pixels[..., :3])


def test_a_palette_with_transparent_entries_reads_without_a_warning() -> None:
    palette = photo().quantize(16)
    payload = encode(palette, "PNG", transparency=bytes(range(0, 160, 10)))
    assert np.array_equal(read(payload), np.asarray(palette.convert("RGB")))


GREY = np.linspace(0, 65535, 40 * 60).astype(np.uint16).reshape(40, 60)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(encode(Image.fromarray(GREY), "PNG"), id="png"),
        pytest.param(tiff(GREY), id="tiff"),
        pytest.param(tiff(GREY, compression="zlib"), id="tiff, compressed"),
        pytest.param(tiff(GREY, byteorder=">"), id="tiff, big-endian"),
        pytest.param(tiff(65535 - GREY, photometric="miniswhite"), id="tiff, white is 0"),
        pytest.param(tiff(GREY.astype(np.int32)), id="tiff, 32-bit integers"),
        pytest.param(tiff((GREY / 65535).astype(np.float32)), id="tiff, floats to 1"),
        pytest.param(tiff(GREY.astype(np.float32)), id="tiff, floats to 65535"),
    ],
)
def test_deep_greys_are_scaled_and_not_clipped(payload: bytes) -> None:
    pixels = read(payload).astype(float)
    assert np.abs(pixels[..., 0] - GREY / 257).max() <= 0.51
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_deep_greys_are_scaled_alike_in_all_their_parts(
    monkeypatch: pytest.MonkeyPatch, dtype: type
) -> None:
    payload = tiff(GREY.astype(dtype))
    whole = read(payload)
    for pixels in (1, 70, 60 * 7, 60 * 39):
        monkeypatch.setattr("hearth.media.strips._STRIP_PIXELS", pixels)
        assert np.array_equal(read(payload), whole)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_deep_colours_are_scaled_and_not_clipped(suffix: str) -> None:
    deep = np.asarray(photo()).astype(np.uint16) * 257
    ok, payload = cv2.imencode(suffix, deep[..., ::-1])
    assert ok
    assert np.array_equal(read(payload.tobytes()), np.asarray(photo()))


def test_cmyk_jpegs_have_their_colours() -> None:
    """Adobe stores CMYK inverted; done wrong, the colours come out negative."""
    picture = photo().resize((120, 80))
    pixels = read(encode(picture.convert("CMYK"), "JPEG", quality=95)).astype(float)
    assert np.abs(pixels - np.asarray(picture)).mean() < 5


def test_ycck_jpegs_have_their_colours() -> None:
    """The Adobe marker's transform 2: the first three channels are YCbCr of the inks."""
    ycc = np.asarray(ImageOps.invert(photo()).convert("YCbCr"))
    # Pillow inverts CMYK when it writes, so what lands in the file are these channels.
    channels = 255 - np.dstack([ycc, np.full(ycc.shape[:2], 255, np.uint8)])
    as_cmyk = encode(Image.fromarray(channels, "CMYK"), "JPEG", quality=100, subsampling=0)
    at = as_cmyk.index(b"Adobe") + len(b"Adobe") + 6
    payload = as_cmyk[:at] + b"\x02" + as_cmyk[at + 1 :]
    assert np.abs(read(payload).astype(float) - np.asarray(photo())).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_exif_orientation_is_applied(file_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    payload = encode(photo(), file_format, exif=exif)
    pixels = read(payload)
    assert pixels.shape[:2] == ((60, 40) if orientation >= 5 else (40, 60))
    assert np.array_equal(pixels, reference(payload))


def test_broken_exif_leaves_the_pixels_as_they_are() -> None:
    payload = encode(photo(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff\x00\x01")
    assert read(payload).shape == (40, 60, 3)


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_an_animation_shows_its_first_frame(file_format: str) -> None:
    frames = [photo(), ImageOps.invert(photo()), photo().rotate(90)]
    payload = encode(frames[0], file_format, save_all=True, append_images=frames[1:])
    assert np.abs(read(payload).astype(float) - np.asarray(photo())).mean() < 12


def test_a_jpeg_with_further_pictures_shows_its_first() -> None:
    payload = encode(photo(), "MPO", save_all=True, append_images=[ImageOps.invert(photo())])
    assert np.array_equal(read(payload), reference(payload))


def psnr(one: Image.Image, other: Image.Image) -> float:
    difference = np.asarray(one).astype(float) - np.asarray(other)
    return float(10 * np.log10(255**2 / np.mean(difference**2)))


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_scaled_decoding_is_as_good_as_full_decoding(options: dict[str, bool]) -> None:
    rng = np.random.default_rng(1)
    large = np.asarray(photo(2400, 1600)).astype(float) + rng.normal(0, 6, (1600, 2400, 3))
    source = Image.fromarray(np.clip(large, 0, 255).astype(np.uint8))
    payload = encode(source, "JPEG", quality=90, **options)
    full, scaled = READER.read(payload), READER.read(payload, at_least=224)
    assert full.size == (2400, 1600)
    assert scaled.size == (1200, 800)
    sizes = [image.resize((336, 224), Image.Resampling.BICUBIC) for image in (full, scaled)]
    assert psnr(*sizes) >= 50


@pytest.mark.parametrize("side", [1, 2, 7, 447, 448, 895, 896, 897, 4000])
def test_scaled_decoding_keeps_twice_what_is_asked_for(side: int) -> None:
    payload = encode(Image.new("RGB", (side, max(1, side // 2))), "JPEG")
    image = READER.read(payload, at_least=224)
    assert min(image.size) >= min(448, side // 2, side) or image.size == (side, max(1, side // 2))


@pytest.mark.parametrize("file_format", FORMATS)
def test_too_many_pixels_are_refused_before_they_are_decoded(file_format: str) -> None:
    # The body is cut off: were it decoded, the message would be another one.
    payload = encode(Image.new("RGB", (500, 400)), file_format)
    payload = payload if file_format in ("WEBP", "AVIF", "TIFF") else payload[:-100]
    with pytest.raises(InvalidInput, match="500×400 pixels; at most 199,999"):
        ImageReader(max_pixels=199_999).read(payload)
    assert ImageReader(max_pixels=200_000).read(encode(Image.new("RGB", (500, 400)), file_format))


@pytest.mark.parametrize("size", [(1, 1_000_001), (1_000_001, 1)])
def test_edges_that_no_picture_has_are_refused(size: tuple[int, int]) -> None:
    reader = ImageReader(max_pixels=10**9)
    with pytest.raises(InvalidInput, match=f"{size[0]}×{size[1]} pixels; edges of at most 1,000,0"):
        reader.read(encode(Image.new("L", size), "PNG"))
    assert reader.read(encode(Image.new("L", (1_000_000, 1)), "PNG")).size == (1_000_000, 1)


def test_a_lack_of_memory_is_no_fault_of_the_image() -> None:
    """In a process that may take 100 MB more than it has: a picture of 39 megapixels, as RGB."""
    program = """
import resource, sys
from hearth.errors import Overloaded
from hearth.media import ImageReader
payload, reader = sys.stdin.buffer.read(), ImageReader(10**8)
reader.read(payload)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 100_000_000,) * 2)
try:
    reader.read(payload)
except Overloaded as error:
    print(error)
"""
    payload = encode(Image.new("RGB", (7500, 5200)), "PNG")
    output = subprocess.check_output([sys.executable, "-c", program], input=payload)
    assert output == b"the node has no memory left to read the image: try again later\n"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0",
        b"hello, this is no image",
        b"%PDF-1.7",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"BM",
        b"II*\0",
        b"RIFF\0\0\0\0WEBP",
        b"\0\0\0\x1cftypavif",
        b"\0\0\0\x18ftypheic" + bytes(100),
        encode(photo(), "PPM"),
        encode(photo(), "JPEG2000"),
        encode(photo(), "ICO"),
    ],
)
def test_what_is_no_image_gets_one_clear_line(payload: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        READER.read(payload)
    assert "\n" not in str(caught.value)
    assert "image" in str(caught.value)


@pytest.mark.parametrize("file_format", FORMATS)
def test_half_a_file_is_refused(file_format: str) -> None:
    payload = encode(photo(300, 200), file_format)
    with pytest.raises(InvalidInput):
        READER.read(payload[: len(payload) // 2])
    with pytest.raises(InvalidInput):
        READER.pixels(payload[: len(payload) // 2])


SMALL = photo(24, 17)
SEEDS: tuple[bytes, ...] = (
    *(encode(SMALL, file_format) for file_format in FORMATS),
    encode(SMALL, "JPEG", progressive=True),
    encode(SMALL.convert("CMYK"), "JPEG"),
    encode(SMALL.quantize(16), "PNG", transparency=bytes(16)),
    encode(SMALL.convert("RGBA"), "PNG"),
    encode(SMALL, "PNG", save_all=True, append_images=[SMALL.rotate(90)]),
    encode(SMALL.convert("RGBA"), "WEBP", lossless=True),
    encode(SMALL, "GIF", save_all=True, append_images=[SMALL.rotate(90)]),
    encode(SMALL.quantize(16), "BMP"),
    *(encode(SMALL, "TIFF", compression=name) for name in ("tiff_lzw", "jpeg", "packbits")),
    encode(SMALL.convert("1"), "TIFF", compression="group4"),
    encode(Image.fromarray(GREY[:17, :24].copy()), "PNG"),
    tiff(GREY[:17, :24], compression="zlib"),
    tiff(GREY[:17, :24].astype(np.float32)),
    tiff(np.dstack([GREY[:17, :24]] * 3), photometric="rgb", planarconfig="contig"),
    tiff(np.stack([GREY[:17, :24] / 65535] * 3).astype(np.float32), photometric="rgb",
         planarconfig="separate", compression="zlib", tile=(16, 16)),
    (CASES / "ten_bit.heic").read_bytes(),
    nef(jpeg(photo(300, 200))),
)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(data=st.data())
def test_broken_bytes_raise_invalid_input_or_give_an_image(data: st.DataObject) -> None:
    payload = bytearray(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(0, 6))):
        # Most of what a parser believes stands at the start.
        near = data.draw(st.booleans())
        at = data.draw(st.integers(0, min(len(payload), 120 if near else 10**6) - 1))
        payload[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del payload[data.draw(st.integers(0, len(payload))) :]
    check = ImageReader(max_pixels=100_000)
    at_least = data.draw(st.sampled_from([None, 1, 224]))
    try:
        image = check.read(bytes(payload), at_least=at_least)
    except InvalidInput as error:
        assert str(error)
        assert "\n" not in str(error)
    else:
        assert image.mode == "RGB"
        assert np.asarray(image).shape == (*image.size[::-1], 3)
        if at_least is None:
            assert np.array_equal(check.pixels(bytes(payload)), np.asarray(image))


def test_broken_files_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    for payload in SEEDS:
        if payload.startswith((b"II", b"MM")):
            continue  # libtiff writes to stderr from C, past everything that Python can do
        for end in range(8, len(payload), max(1, len(payload) // 20)):
            with contextlib.suppress(InvalidInput):
                READER.read(payload[:end])
    assert capfd.readouterr() == ("", "")


def test_threads_may_share_a_reader() -> None:
    files = [encode(photo(40 + i, 30 + i), FORMATS[i % len(FORMATS)]) for i in range(28)]
    expected = [reference(payload) for payload in files]
    answers: list[np.ndarray | None] = [None] * len(files)

    def work(start: int) -> None:
        for i in range(start, len(files), 4):
            answers[i] = read(files[i])

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(mine, theirs) for mine, theirs in zip(answers, expected, strict=True))


def test_heavy_images_are_read_only_where_that_is_allowed_for():
    heavy = encode(Image.new("L", (8000, 5001)), "PNG")
    reader = ImageReader(10**9)
    with pytest.raises(HeavyPayload):
        reader.light.read(heavy)
    with pytest.raises(HeavyPayload):
        reader.light.pixels(heavy)
    assert reader.read(heavy).size == (8000, 5001)
    assert reader.light.read(encode(Image.new("L", (80, 50)), "PNG")).size == (80, 50)
