"""Other backgrounds behind people, against the same arithmetic in 64-bit floats."""

import asyncio
import base64
import struct
import tracemalloc
import zlib
from io import BytesIO

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image

import reference_kit as kit
from hearth.families.mediapipe import effects
from hearth.families.mediapipe.backdrops import Backdrops
from hearth.media import encode
from hearth.media.mask import SoftMask
from node_kit import ask as request
from node_kit import stub_of
from vision_kit import Answer, answers, frame, vision_node

TASK = "segmentation_effect"
RNG = np.random.default_rng(7)


def portrait(width: int = 160, height: int = 120) -> tuple[np.ndarray, SoftMask]:
    """The astronaut and a soft mask that has all shades."""
    y, x = np.mgrid[0:64, 0:64] / 63
    distance = np.hypot((x - 0.45) / 0.5, (y - 0.6) / 0.8)
    soft = np.clip((0.6 - distance) * 8 + 0.5, 0, 1).astype(np.float32)
    return cv2.resize(kit.photograph("astronaut"), (width, height)), SoftMask(soft, width, height)


# --- the same in float64 ----------------------------------------------------------------------


def enlarged(small: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Bilinear along one axis; centres at halves, edges repeated."""
    have = small.shape[axis]
    at = np.clip((np.arange(size) + 0.5) * have / size - 0.5, 0, have - 1)
    low = np.floor(at).astype(int)
    share = np.expand_dims(at - low, 1 - axis)
    near, far = (np.take(small, np.minimum(low + one, have - 1), axis) for one in (0, 1))
    return near + (far - near) * share


def alpha_of(mask: SoftMask) -> np.ndarray:
    """(height, width, 1)"""
    small = mask.small.astype(np.float64)
    return enlarged(enlarged(small, mask.height, 0), mask.width, 1)[..., None]


def gaussian(values: np.ndarray, sigma: float) -> np.ndarray:
    """Every pixel's mean over the whole picture; nothing beyond it has any weight."""
    for axis in (0, 1):
        at = np.arange(values.shape[axis])
        weights = np.exp(-((at[:, None] - at) ** 2) / (2 * sigma**2))
        weights /= np.exp(-(np.arange(-9 * sigma, 9 * sigma + 1) ** 2) / (2 * sigma**2)).sum()
        values = np.moveaxis(np.tensordot(weights, values, (1, axis)), 0, axis)
    return values


def blurred(pixels: np.ndarray, mask: SoftMask, sigma: float) -> np.ndarray:
    alpha = alpha_of(mask)
    behind = gaussian(pixels * (1 - alpha), sigma)
    behind /= np.maximum(gaussian(1 - alpha, sigma), 1e-300)
    return pixels * alpha + behind * (1 - alpha)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((one.astype(np.float64) - other) ** 2))


# --- blur -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(161, 117), (90, 160)])
@pytest.mark.parametrize("sigma", [0.4, 1, 2.5, 3.9, 4, 5.9, 6, 11, 32])
def test_a_blur_is_the_mean_of_the_background_alone(size, sigma):
    pixels, mask = portrait(*size)
    got, expected = effects.blurred(pixels, mask, sigma), blurred(pixels, mask, sigma)
    assert psnr(got, expected) >= 54
    # Below 4 nothing is reduced: only rounding is left.
    assert np.abs(got - expected).max() <= (0.51 if sigma < 4 else 5)


@pytest.mark.parametrize("sigma", [3, 8, 30])
def test_a_wide_blur_takes_no_colour_from_who_is_in_front(sigma):
    """Someone in red before grey: a plain blur of the picture would leave a red halo."""
    mask = SoftMask(np.zeros((120, 160), np.float32), 160, 120)
    mask.small[40:, 50:110] = 1
    pixels = np.full((120, 160, 3), 128, np.uint8)
    pixels[mask.small == 1] = (255, 0, 0)
    shown = effects.blurred(pixels, mask, sigma)
    behind = mask.small == 0
    assert np.abs(shown[behind].astype(int) - 128).max() <= 1
    assert np.array_equal(shown[~behind], pixels[~behind])


def test_the_edge_of_a_picture_does_not_darken():
    pixels = np.full((50, 70, 3), 200, np.uint8)
    nobody = SoftMask(np.zeros((4, 4), np.float32), 70, 50)
    for sigma in (1, 6, 40):
        assert np.abs(effects.blurred(pixels, nobody, sigma).astype(int) - 200).max() <= 1


def test_who_fills_the_picture_stays_sharp():
    pixels, mask = portrait()
    everybody = mask._replace(small=np.ones((5, 5), np.float32))
    assert np.array_equal(effects.blurred(pixels, everybody, 20), pixels)


def test_a_soft_gradient_stays_without_bands():
    """Across an edge 400 pixels wide, no two neighbours differ by more than they must."""
    ramp = np.linspace(0, 1, 256, dtype=np.float32)[None]
    pixels = np.full((8, 2000, 3), 230, np.uint8)
    shown = effects.replaced(pixels, SoftMask(ramp, 2000, 8), (20, 20, 20)).astype(int)
    steps = np.diff(shown[0, :, 0])
    assert steps.min() >= 0
    assert steps.max() == 1
    assert len(np.unique(shown[0, :, 0])) == 211


# --- replace and cutout -----------------------------------------------------------------------


@pytest.mark.parametrize("size", [(160, 120), (161, 117), (1, 1)])
def test_a_background_shows_where_nobody_is(size):
    pixels, mask = portrait(*size)
    alpha = alpha_of(mask)
    other = RNG.integers(0, 256, pixels.shape, np.uint8)
    for background in (other, (7, 130, 255)):
        expected = pixels * alpha + np.asarray(background) * (1 - alpha)
        assert np.abs(effects.replaced(pixels, mask, background) - expected).max() <= 0.51


def test_a_cutout_has_the_mask_as_alpha_and_hides_the_room():
    pixels, mask = portrait()
    shown = effects.cut_out(pixels, mask)
    alpha = alpha_of(mask)[..., 0]
    assert np.abs(shown[..., 3] - alpha * 255).max() <= 0.51
    visible = shown[..., 3] > 0
    assert 0 < visible.mean() < 1
    assert np.array_equal(shown[visible][:, :3], pixels[visible])
    assert not shown[~visible].any()


def test_strips_leave_no_seams(monkeypatch):
    pixels, mask = portrait(161, 117)
    whole = [effects.blurred(pixels, mask, sigma) for sigma in (2, 5, 20)]
    whole += [effects.replaced(pixels, mask, (1, 2, 3)), effects.cut_out(pixels, mask)]
    monkeypatch.setattr("hearth.media.strips._STRIP_PIXELS", 161 * 7)
    parts = [effects.blurred(pixels, mask, sigma) for sigma in (2, 5, 20)]
    parts += [effects.replaced(pixels, mask, (1, 2, 3)), effects.cut_out(pixels, mask)]
    for one, other in zip(whole, parts, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1  # a float's last bit may round


# --- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (33, 20), (33, 20, 3), (33, 20, 4)])
def test_a_png_holds_the_very_pixels(shape):
    pixels = RNG.integers(0, 256, shape, np.uint8)
    image = Image.open(BytesIO(encode.png(pixels)))
    assert image.mode == {(): "L", (3,): "RGB", (4,): "RGBA"}[shape[2:]]
    assert np.array_equal(np.asarray(image), pixels)


def test_a_jpeg_is_as_good_as_its_quality():
    pixels = kit.photograph("astronaut")
    files = [encode.jpeg(pixels, quality) for quality in (30, 90)]
    shown = [np.asarray(Image.open(BytesIO(file))) for file in files]
    assert len(files[0]) < len(files[1]) / 2
    assert psnr(shown[1], pixels) > psnr(shown[0], pixels) > 28
    assert psnr(shown[1], pixels) > 34


# --- the task ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return kit.photograph("astronaut")


async def ask(pixels: np.ndarray, *options: dict) -> list[Answer]:
    """One answer for each set of options, in their order."""
    async with vision_node() as node, stub_of(node) as stub:
        asked = [frame(pixels, TASK, str(number), **each) for number, each in enumerate(options)]
        return sorted(await answers(stub, asked), key=lambda answer: int(answer.cid))


def pixels_of(answer: Answer, mime: str, mode: str = "RGB") -> np.ndarray:
    assert answer.mime == mime, answer.error
    image = Image.open(BytesIO(answer.body))
    assert image.mode == mode
    return np.asarray(image)


def base64_of(image: Image.Image, kind: str = "PNG") -> str:
    buffer = BytesIO()
    image.save(buffer, kind)
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture(scope="module")
def mask(astronaut, vision_model):
    """The real one, from the model itself."""

    async def find() -> SoftMask:
        async with vision_model.frame(encode.png(astronaut)) as seen:
            return await vision_model.selfie.find(seen)

    return asyncio.run(find())


async def test_each_effect_is_drawn_with_the_models_mask(astronaut, mask):
    room = Image.fromarray(skimage.data.chelsea())
    blur, strong, green, red, other, cutout = await ask(
        astronaut,
        {"format": "png"},
        {"format": "png", "strength": "0.1"},
        {"format": "png", "effect": "replace"},
        {"format": "png", "effect": "replace", "color": "#C00010"},
        {"format": "png", "effect": "replace", "background": base64_of(room, "JPEG")},
        {"effect": "cutout"},
    )
    shown = pixels_of(blur, "image/png")
    assert np.array_equal(shown, effects.blurred(astronaut, mask, 0.02 * 512))
    assert psnr(shown, blurred(astronaut, mask, 0.02 * 512)) > 54
    shown = pixels_of(strong, "image/png")
    assert np.array_equal(shown, effects.blurred(astronaut, mask, 0.1 * 512))
    for answer, color in ((green, (0, 255, 0)), (red, (192, 0, 16))):
        shown = pixels_of(answer, "image/png")
        assert np.array_equal(shown, effects.replaced(astronaut, mask, color))
        assert tuple(shown[5, 5]) == color
    shown = pixels_of(cutout, "image/png", "RGBA")
    assert np.array_equal(shown, effects.cut_out(astronaut, mask))
    # The cat fills the square, its middle in the middle.
    shown = pixels_of(other, "image/png")
    cat = np.asarray(room.resize((770, 512), Image.Resampling.BICUBIC))[:, 129:641]
    behind = mask.eight_bit()[0] == 0
    assert psnr(shown[behind], cat[behind]) > 25
    for answer in (blur, strong, green, red, other, cutout):
        assert answer.meta["width"] == answer.meta["height"] == "512"
        assert answer.meta["format"] == "png"
        assert answer.meta["lumen.model.id"] == "mediapipe-0.10.21"
        assert answer.schema == ""


async def test_jpeg_is_the_default_and_accept_and_quality_are_heard(astronaut, mask):
    plain, accepted, png, small = await ask(
        astronaut,
        {},
        {"accept": "image/webp, image/png;q=0.9, image/jpeg"},
        {"accept": "image/png", "format": "jpeg"},
        {"quality": "20"},
    )
    expected = effects.blurred(astronaut, mask, 0.02 * 512)
    assert psnr(pixels_of(plain, "image/jpeg"), expected) > 34
    assert np.array_equal(pixels_of(accepted, "image/png"), expected)
    assert pixels_of(png, "image/jpeg").shape == expected.shape
    assert len(small.body) < len(plain.body) / 2


@pytest.mark.parametrize("size", [(30, 40), (400, 100), (100, 400), (2000, 3), (3, 2000)])
async def test_a_background_covers_the_picture_whatever_its_shape(astronaut, mask, size):
    color = (10, 90, 200)
    background = base64_of(Image.new("RGB", size, color))
    by_url, wrapped = f"data:image/png;base64,{background}", "\n ".join(background)
    shown = await ask(
        astronaut,
        *({"effect": "replace", "format": "png", "background": text} for text in (by_url, wrapped)),
    )
    for answer in shown:
        expected = effects.replaced(astronaut, mask, color)
        assert np.array_equal(pixels_of(answer, "image/png"), expected)


def bomb() -> str:
    """A PNG of 60,000 × 60,000 pixels, says its head."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    file = b"\x89PNG\r\n\x1a\n"
    for chunk in (b"IHDR" + head, b"IDAT" + zlib.compress(bytes(100))):
        file += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return base64.b64encode(file).decode()


REFUSED = [
    ({"effect": "replace", "background": "@@@"}, "background: the image is no base64"),
    ({"effect": "replace", "background": "QUJ"}, "background: the image is no base64"),
    ({"effect": "replace", "background": "ünïcode"}, "background: the image is no base64"),
    ({"effect": "replace", "background": "data:image/png"}, "background: the image is empty"),
    ({"effect": "replace", "background": "PHN2Zz48L3N2Zz4="}, "background: not an image"),
    ({"effect": "replace", "background": bomb()}, "background: the image has 60000×60000 pixels"),
    ({"effect": "replace", "background": "iVBORw0KGgoAAAAN"}, "background: the image is broken"),
    ({"effect": "replace", "background": "QUJD", "color": "#ffffff"}, "choose one of them"),
    ({"effect": "replace", "color": "red"}, "color = 'red': write it as #rrggbb"),
    ({"effect": "replace", "color": "#12345"}, "write it as #rrggbb"),
    ({"effect": "replace", "color": "#" + "1" * 10_000}, "write it as #rrggbb"),
    ({"effect": "cutout", "format": "jpeg"}, "cutout needs png"),
    ({"effect": "sharpen"}, "choose from blur, replace, cutout"),
    ({"strength": "0"}, "strength = 0 is less than 0.002"),
    ({"strength": "1"}, "strength = 1 is more than 0.2"),
    ({"quality": "0"}, "quality = 0"),
]


async def test_what_cant_be_drawn_is_refused_and_spares_the_others(astronaut):
    *refused, good = await ask(astronaut, *(options for options, _ in REFUSED), {})
    for answer, (options, message) in zip(refused, REFUSED, strict=True):
        assert message in answer.error, options
        assert len(answer.error) < 300
    assert good.mime == "image/jpeg"


async def test_a_heavy_background_waits_for_its_turn(astronaut, mask, monkeypatch):
    monkeypatch.setattr("hearth.media.images._HEAVY_PIXELS", 999)
    background = base64_of(Image.new("RGB", (50, 50), (9, 9, 9)))
    shown = await ask(
        astronaut, *[{"effect": "replace", "format": "png", "background": background}] * 4
    )
    for answer in shown:
        expected = effects.replaced(astronaut, mask, (9, 9, 9))
        assert np.array_equal(pixels_of(answer, "image/png"), expected)


async def test_a_video_may_change_its_background():
    pixels = np.zeros((48, 64, 3), np.uint8)
    colors = [(200, 0, 0), (200, 0, 0), (0, 0, 200), (200, 0, 0)]
    options = [
        {"effect": "replace", "format": "png", "stream_id": stream, "frame_number": number,
         "background": base64_of(Image.new("RGB", (9, 9), color))}
        for number, color in enumerate(colors) for stream in ("a", "b")
    ]  # fmt: skip
    shown = await ask(pixels, *options)
    for answer, asked in zip(shown, options, strict=True):
        color = pixels_of(answer, "image/png")[0, 0]
        assert tuple(color) == colors[asked["frame_number"]]
        assert answer.meta["frame_number"] == str(asked["frame_number"])
        assert answer.meta["stream_id"] == asked["stream_id"]


def test_backdrops_are_read_once_and_bounded_in_memory():
    kept, loaded = Backdrops(most_bytes=3 * 3000), []

    def fitted(name: str, width: int = 40, height: int = 25) -> np.ndarray:
        def load() -> Image.Image:
            loaded.append(name)
            return Image.new("RGB", (80, 50), name)

        return kept.fitted(name, load, width, height)

    assert fitted("red").shape == (25, 40, 3)
    assert fitted("red") is fitted("red")
    assert tuple(fitted("blue")[0, 0]) == (0, 0, 255)
    assert loaded == ["red", "blue"]
    assert fitted("red", 25, 40).shape == (40, 25, 3), "each size by itself"
    fitted("green")  # with the texts there's room for two
    assert kept.bytes <= 9000
    assert fitted("green") is fitted("green")
    fitted("blue")
    assert loaded == ["red", "blue", "red", "green", "blue"]
    assert fitted("lime", 400, 250).shape == (250, 400, 3)
    assert kept.bytes <= 9000
    with pytest.raises(ValueError, match="read-only"):
        fitted("red")[0] = 0


async def test_a_picture_too_long_for_a_jpeg_is_refused_as_one_and_drawn_as_png():
    long = np.zeros((1, 65_600, 3), np.uint8)
    jpeg, png = await ask(long, {"effect": "replace"}, {"effect": "replace", "format": "png"})
    assert "ask for another format" in jpeg.error
    assert pixels_of(png, "image/png").shape == long.shape


async def test_image_files_are_taken_as_well(astronaut, mask):
    buffer = BytesIO()
    Image.fromarray(astronaut).save(buffer, "PNG")
    asked = request(buffer.getvalue(), "1", TASK, payload_mime="image/png", meta={"format": "png"})
    async with vision_node() as node, stub_of(node) as stub:
        [answer] = await answers(stub, [asked])
    expected = effects.blurred(astronaut, mask, 0.02 * 512)
    assert np.array_equal(pixels_of(answer, "image/png"), expected)


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1)])
def test_a_line_of_pixels_is_blurred_within_little_memory(size):
    width, height = size
    mask = SoftMask(np.zeros((8, 8), np.float32), width, height)
    pixels = np.full((height, width, 3), 90, np.uint8)
    tracemalloc.start()  # numpy's arrays count
    try:
        blurred = effects.blurred(pixels, mask, 0.2 * 60_000)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert blurred.shape == pixels.shape and np.abs(blurred.astype(int) - 90).max() <= 1
    assert most < 100e6
