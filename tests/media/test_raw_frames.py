"""Raw frames have their colours, odd ones are refused, and a picture is decoded once."""

import threading
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from hearth.errors import InvalidInput
from hearth.media import HeavyPayload, ImageReader, Picture, images
from hearth.media.forms import Decoded
from hearth.media.raw import FORMATS, MIME, RawForm, is_raw, raw_form, read_raw

READER = ImageReader(max_pixels=1_000_000)
RNG = np.random.default_rng(5)
SIZES = [(1, 1), (2, 2), (7, 3), (1, 9), (16, 16), (33, 64)]
EVEN = [(2, 2), (4, 2), (2, 4), (6, 6), (10, 14), (64, 48)]


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, np.uint8)


def rgb_of(payload: bytes, kind: str, width: int, height: int) -> np.ndarray:
    return read_raw(payload, RawForm(kind, width, height), 10**6)


def mime_of(kind: str, width: int, height: int) -> str:
    return f"{MIME};format={kind};width={width};height={height}"


# --- colours ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_rgb_bgr_rgba_and_gray_are_what_they_say(width, height):
    pixels = noise(height, width, 3)
    alpha = noise(height, width, 1)
    grey = noise(height, width)
    assert np.array_equal(rgb_of(pixels.tobytes(), "rgb", width, height), pixels)
    assert np.array_equal(rgb_of(pixels[..., ::-1].tobytes(), "bgr", width, height), pixels)
    with_alpha = np.concatenate([pixels, alpha], axis=2)
    assert np.array_equal(rgb_of(with_alpha.tobytes(), "rgba", width, height), pixels)
    shown = rgb_of(grey.tobytes(), "gray", width, height)
    assert np.array_equal(shown, np.repeat(grey[..., None], 3, axis=2))


def bt601(y: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """ITU-R BT.601, limited range: Kr = 0.299, Kb = 0.114, Y of 16 to 235, U and V of 16 to 240."""
    kr, kb = 0.299, 0.114
    luma = np.maximum(y.astype(np.float64) - 16, 0) / 219  # blacker than black is black
    blue = (u.astype(np.float64) - 128) / 224 * 2 * (1 - kb)
    red = (v.astype(np.float64) - 128) / 224 * 2 * (1 - kr)
    green = (-kr * red - kb * blue) / (1 - kr - kb)
    return np.clip(np.stack([luma + red, luma + green, luma + blue], axis=-1) * 255, 0, 255)


@pytest.mark.parametrize(("width", "height"), EVEN)
def test_yuv420_has_the_colours_of_bt601(width, height):
    y, u, v = noise(height, width), noise(height // 2, width // 2), noise(height // 2, width // 2)
    shown = rgb_of(y.tobytes() + u.tobytes() + v.tobytes(), "yuv420", width, height)
    doubled = (np.repeat(np.repeat(plane, 2, axis=0), 2, axis=1) for plane in (u, v))
    assert np.abs(shown - bt601(y, *doubled)).max() <= 2


@pytest.mark.parametrize(
    ("yuv", "rgb"),
    [
        ((16, 128, 128), (0, 0, 0)),
        ((235, 128, 128), (255, 255, 255)),
        ((81, 90, 240), (255, 0, 0)),
        ((145, 54, 34), (0, 255, 0)),
        ((41, 240, 110), (0, 0, 255)),
    ],
)
def test_yuv420_knows_the_colour_bars(yuv, rgb):
    payload = bytes([yuv[0]] * 4 + [yuv[1], yuv[2]])
    assert np.abs(rgb_of(payload, "yuv420", 2, 2).astype(int) - rgb).max() <= 2


# --- what isn't a frame -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("wrong", [-1, 1, 640])
def test_a_wrong_number_of_bytes_is_refused(kind, wrong):
    form = RawForm(kind, 20, 10)
    with pytest.raises(InvalidInput, match=f"20×10 has {form.size} bytes, not {form.size + wrong}"):
        read_raw(bytes(form.size + wrong), form, 10**6)
    with pytest.raises(InvalidInput, match="not 0"):
        read_raw(b"", form, 10**6)


@pytest.mark.parametrize(("width", "height"), [(3, 2), (2, 3), (1, 1)])
def test_yuv420_of_an_odd_size_is_refused(width, height):
    with pytest.raises(InvalidInput, match="even width and height"):
        raw_form(mime_of("yuv420", width, height))


def test_more_pixels_than_allowed_are_refused_before_anything_is_made_of_them():
    form = raw_form(mime_of("rgb", 9_999_999, 9_999_999))
    with pytest.raises(InvalidInput, match="9999999×9999999 pixels; at most 1,000,000"):
        read_raw(bytes(10), form, 1_000_000)
    with pytest.raises(InvalidInput, match="1001×1000 pixels"):
        Picture(bytes(1_001_000), mime_of("gray", 1001, 1000)).decode(READER)


@pytest.mark.parametrize(
    "parameters",
    [
        "",
        ";",
        ";format=rgb",
        ";format=rgb;width=4",
        ";format=rgb;height=4",
        ";width=4;height=4",
        ";format=;width=4;height=4",
        ";format=nv12;width=4;height=4",
        ";format=rgb;width=0;height=4",
        ";format=rgb;width=-4;height=4",
        ";format=rgb;width=+4;height=4",
        ";format=rgb;width=4.0;height=4",
        ";format=rgb;width=4e0;height=4",
        ";format=rgb;width=0x4;height=4",
        ";format=rgb;width=04;height=4",
        ";format=rgb;width=٤;height=4",
        ";format=rgb;width=4 4;height=4",
        ";format=rgb;width=12345678;height=4",
        ";format=rgb;width;height=4",
        ";format=rgb width=4 height=4",
        ",format=rgb,width=4,height=4",
        ";format=rgb;width=4\n5;height=4",
        f";format=rgb;width={'9' * 100_000};height=4",
        f";format={'x' * 100_000};width=4;height=4",
    ],
)
def test_a_mime_that_doesnt_tell_the_form_gets_one_short_line(parameters):
    with pytest.raises(InvalidInput) as caught:
        raw_form(MIME + parameters)
    assert str(caught.value).startswith(f"{MIME}: ")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "mime",
    [
        "image/x-raw;format=bgr;width=640;height=480",
        "IMAGE/X-RAW;FORMAT=BGR;WIDTH=640;HEIGHT=480",
        " image/x-raw ; format = bgr ; width = 640 ; height = 480 ; ",
        'image/x-raw;format="bgr";width="640";height="480"',
        "image/x-raw;height='480';width=' 640 ';format=' BGR '",
        "image/x-raw;framerate=30/1;format=bgr;width=640;height=480;colorimetry=bt601",
    ],
)
def test_case_spaces_quotes_and_order_dont_matter(mime):
    assert is_raw(mime)
    assert raw_form(mime) == ("bgr", 640, 480)


@pytest.mark.parametrize(
    "mime", ["", "image/jpeg", "image/x-rawish", "x;image/x-raw", "video/x-raw"]
)
def test_other_mimes_are_no_raw_frames(mime):
    assert not is_raw(mime)
    assert Picture(b"", mime).form is None


# --- pictures that several look at ------------------------------------------------------------


class CountingReader(ImageReader):
    """Says how often it was asked."""

    def __init__(self, max_pixels: int = 10**8) -> None:
        super().__init__(max_pixels)
        self.reads = 0

    def decoded(self, payload: bytes) -> Decoded:
        self.reads += 1
        return super().decoded(payload)


def file_of(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def asked_by_eight(picture: Picture, reader: ImageReader) -> list[np.ndarray]:
    """What eight threads see that ask at once, every other one for an image of Pillow's."""
    ready, seen = threading.Barrier(8), []

    def ask(number: int) -> None:
        ready.wait(10)
        looks = picture.image if number % 2 else picture.decode
        seen.append(np.asarray(looks(reader)))

    threads = [threading.Thread(target=ask, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(seen) == 8
    return seen


def test_a_file_is_decoded_once_however_many_look():
    pixels, reader = noise(300, 400, 3), CountingReader()
    picture = Picture(file_of(Image.fromarray(pixels)), "image/png")
    for _ in range(2):
        assert all(np.array_equal(seen, pixels) for seen in asked_by_eight(picture, reader))
    assert reader.reads == 1


@pytest.mark.parametrize("kind", FORMATS)
def test_a_raw_frame_is_the_same_to_all_and_needs_no_reader_of_files(kind):
    form, reader = RawForm(kind, 40, 30), CountingReader()
    payload = noise(form.size).tobytes()
    picture = Picture(payload, mime_of(*form))
    expected = read_raw(payload, form, 10**6)
    assert all(np.array_equal(seen, expected) for seen in asked_by_eight(picture, reader))
    assert reader.reads == 0


def test_every_order_of_asking_gives_the_same_pixels():
    pixels = noise(30, 20, 3)
    for first, second in (("image", "decode"), ("decode", "image")):
        picture, reader = Picture(file_of(Image.fromarray(pixels))), CountingReader()
        assert np.array_equal(np.asarray(getattr(picture, first)(reader)), pixels)
        assert np.array_equal(np.asarray(getattr(picture, second)(reader)), pixels)
        assert picture.decode(reader) is picture.decode(reader)
        assert reader.reads == 1


@pytest.mark.parametrize("mime", ["image/png", mime_of("rgb", 20, 30), mime_of("gray", 60, 30)])
def test_nobody_can_change_what_others_see(mime):
    pixels = noise(30, 20, 3)
    raw = mime.startswith(MIME)
    picture = Picture(pixels.tobytes() if raw else file_of(Image.fromarray(pixels)), mime)
    shown = picture.decode(READER)
    assert shown.flags.c_contiguous
    with pytest.raises(ValueError, match="read-only"):
        shown[0, 0] = 1


def test_a_picture_stands_upright_as_its_exif_says():
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = noise(30, 20, 3)
    picture = Picture(file_of(Image.fromarray(pixels), exif=exif))
    assert np.array_equal(picture.decode(READER), np.rot90(pixels, -1))
    assert picture.image(READER).size == (30, 20)


def test_a_heavy_picture_is_put_off_and_can_be_had_later(monkeypatch):
    monkeypatch.setattr(images, "_HEAVY_PIXELS", 999)
    picture = Picture(file_of(Image.new("RGB", (40, 25))))
    for ask in (picture.decode, picture.image):
        with pytest.raises(HeavyPayload):
            ask(READER.light)
    assert picture.decode(READER).shape == (25, 40, 3)
    # What has been decoded is no burden any more.
    assert picture.decode(READER.light).shape == (25, 40, 3)
    assert picture.image(READER.light).size == (40, 25)


@pytest.mark.parametrize("payload", [b"", b"no image", file_of(Image.new("RGB", (50, 50)))[:60]])
def test_whoever_asks_for_a_broken_picture_is_told(payload):
    picture = Picture(payload, "image/png")
    for ask in (picture.decode, picture.image) * 2:
        with pytest.raises(InvalidInput):
            ask(READER)
