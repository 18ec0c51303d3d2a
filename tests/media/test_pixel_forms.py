"""Each task has the pixels that it needs: stored ones, readable ones, or such of sRGB."""

import struct
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw

from checkout import CASES
from damage_kit import PHOTO, encoded
from hearth.media import ImageReader, Picture, PixelForm
from hearth.media.raw import MIME

READER = ImageReader(max_pixels=10_000_000)
STORED, READABLE, SRGB = PixelForm


def form_of(payload: bytes, form: PixelForm) -> np.ndarray:
    """By each road to it, which must agree."""
    pixels = READER.pixels(payload, form)
    assert np.array_equal(pixels, np.asarray(READER.read(payload, form=form)))
    assert np.array_equal(pixels, Picture(payload).decode(READER, form))
    return pixels


# --- transparency -----------------------------------------------------------------------------


def text(colour: tuple[int, int, int], hidden: tuple[int, int, int]) -> Image.Image:
    """Strokes of one colour; another colour is hidden under what is transparent."""
    image = Image.new("RGBA", (80, 40), (*hidden, 0))
    pen = ImageDraw.Draw(image)
    for left in range(8, 72, 12):
        pen.rectangle((left, 10, left + 3, 30), (*colour, 255))
    return image


WAYS: dict[str, Callable[[Image.Image], bytes]] = {
    "png": lambda image: encoded(image, "PNG"),
    "grey png": lambda image: encoded(image.convert("LA"), "PNG"),
    "palette png": lambda image: encoded(image.quantize(8), "PNG"),
    "webp": lambda image: encoded(image, "WEBP", lossless=True, exact=True),
    "gif": lambda image: encoded(image, "GIF"),
    "tiff": lambda image: encoded(image, "TIFF"),
    "avif": lambda image: encoded(image, "AVIF", quality=100),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("level", [0, 40, 90, 128, 170, 215, 255])
def test_text_stands_out_from_the_ground_that_it_is_laid_on(way, level):
    payload = WAYS[way](text((level,) * 3, (level,) * 3))
    pixels = form_of(payload, READABLE).astype(int)
    ink, ground = pixels[20, 9], pixels[2, 2]
    assert np.abs(ink - level).max() <= 3
    assert np.abs(ink - ground).min() >= 96
    # CLIP sees what open_clip sees: one colour all over, where the file keeps what is hidden.
    stored = form_of(payload, STORED)
    if "gif" not in way and "palette" not in way:
        assert np.ptp(stored) <= 3
    assert np.array_equal(form_of(payload, SRGB), stored)


def test_dark_and_light_text_are_seen_both():
    image = text((5, 5, 20), (0, 0, 0))
    ImageDraw.Draw(image).rectangle((0, 34, 80, 40), (250, 250, 240, 255))
    pixels = form_of(encoded(image, "PNG"), READABLE).astype(int)
    assert np.abs(pixels[20, 9] - pixels[2, 2]).min() > 90
    assert np.abs(pixels[37, 9] - pixels[2, 2]).min() > 90


def test_half_transparent_pixels_are_mixed_with_the_ground():
    rng = np.random.default_rng(5)
    rgba = rng.integers(0, 90, (37, 41, 4), np.uint8)
    rgba[..., 3] = rng.integers(0, 256, (37, 41))
    share = rgba[..., 3:] / 255
    expected = rgba[..., :3] * share + 255 * (1 - share)  # dark colours: a white ground
    payload = encoded(Image.fromarray(rgba), "PNG")
    assert np.abs(form_of(payload, READABLE) - expected).max() <= 0.51


def test_what_is_all_transparent_is_blank():
    for colour in (0, 255):
        image = Image.new("RGBA", (20, 10), (colour, colour, colour, 0))
        assert np.ptp(form_of(encoded(image, "PNG"), READABLE)) == 0


@pytest.mark.parametrize("orientation", [3, 6])
def test_the_ground_is_laid_under_the_right_pixels_of_a_turned_picture(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = text((0, 0, 0), (0, 0, 0))
    plain = form_of(encoded(image, "PNG"), READABLE)
    turned = form_of(encoded(image, "PNG", exif=exif), READABLE)
    assert np.array_equal(turned, np.rot90(plain, 2 if orientation == 3 else -1))


def test_a_transparent_colour_is_transparent():
    image = Image.new("RGB", (30, 20), (255, 0, 255))
    image.paste((255, 255, 255), (5, 5, 20, 10))
    pixels = form_of(encoded(image, "PNG", transparency=(255, 0, 255)), READABLE)
    assert set(pixels[7, 7]) == {255}
    assert set(pixels[0, 0]) == {0}


def test_a_raw_frame_may_be_transparent():
    rgba = np.asarray(text((255, 255, 255), (255, 255, 255)))
    mime = f"{MIME};format=rgba;width=80;height=40"
    picture = Picture(rgba.tobytes(), mime)
    assert np.ptp(picture.decode(READER)) == 0
    assert not picture.is_ready(READABLE)
    pixels = picture.decode(READER, READABLE)
    assert set(pixels[20, 9]) == {255}
    assert set(pixels[2, 2]) == {0}
    assert picture.is_ready(READABLE)


# --- pictures that several look at ------------------------------------------------------------


class CountingReader(ImageReader):
    """Counts the files that are opened."""

    def __init__(self) -> None:
        super().__init__(10**7)
        self.opened = 0

    def _open(self, payload):
        self.opened += 1
        return super()._open(payload)


def test_a_file_is_decoded_once_for_all_forms_in_any_order():
    payload = encoded(text((255, 255, 255), (9, 9, 9)), "PNG", icc_profile=profile_of("p3"))
    for order in (list(PixelForm), list(PixelForm)[::-1]):
        reader, picture = CountingReader(), Picture(payload)
        shown = {form: picture.decode(reader, form) for form in order * 2}
        assert reader.opened == 1
        assert len({id(pixels) for pixels in shown.values()}) == 3
        for pixels in shown.values():
            assert not pixels.flags.writeable


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_without_transparency_and_profile_all_forms_are_one_array(kind):
    picture = Picture(encoded(PHOTO, kind))
    assert len({id(picture.decode(READER, form)) for form in PixelForm}) == 1
    opaque = Picture(encoded(PHOTO.convert("RGBA"), "PNG", icc_profile=profile_of("srgb")))
    assert len({id(opaque.decode(READER, form)) for form in PixelForm}) == 1


# --- colours ----------------------------------------------------------------------------------

# Primaries and white of the RGB spaces, as CIE xy: SMPTE EG 432-1 (Display P3), Adobe RGB (1998),
# ITU-R BT.709 (sRGB), all with the white D65.
PRIMARIES = {
    "p3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    "adobe": ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)),
    "srgb": ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
}
D65, D50 = np.array((0.95047, 1, 1.08883)), np.array((0.9642, 1, 0.8249))
# Lindbloom, "Chromatic Adaptation": Bradford.
BRADFORD = np.array(
    ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
)
ADAPTATION = np.linalg.inv(BRADFORD) @ np.diag((BRADFORD @ D50) / (BRADFORD @ D65)) @ BRADFORD


def to_xyz(name: str) -> np.ndarray:
    """The matrix from linear RGB to XYZ, adapted to D50."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in PRIMARIES[name]]).T
    return ADAPTATION @ columns * np.linalg.solve(columns, D65)


def srgb_of_xyz(xyz: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1, of XYZ at D50."""
    linear = np.clip(xyz @ np.linalg.inv(to_xyz("srgb")).T, 0, 1)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return 255 * curved


def _icc(space: bytes, connection: bytes, kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile: ICC.1:2010, 7.2 and 7.3."""
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s12s4s", start + len(body), b"none", 0x02400000, kind, space,
                       connection, bytes(12), b"acsp") + bytes(28) \
        + struct.pack(">3i", *(round(65536 * value) for value in D50)) + bytes(48)  # fmt: skip
    return head + table + body


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * value) for value in values))


def _gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * value))


_WORDS = {b"desc": b"desc\0\0\0\0\0\0\0\2x\0" + bytes(78), b"cprt": b"text\0\0\0\0x\0"}


def profile_of(name: str, gamma: float = 2.2) -> bytes:
    if name == "srgb":
        from PIL import ImageCms

        return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    matrix = to_xyz(name)
    tags = {**_WORDS, b"wtpt": _xyz(D50)}
    for number, letter in enumerate((b"r", b"g", b"b")):
        tags[letter + b"XYZ"] = _xyz(matrix[:, number])
        tags[letter + b"TRC"] = _gamma(gamma)
    return _icc(b"RGB ", b"XYZ ", b"mntr", tags)


def grey_profile(gamma: float) -> bytes:
    return _icc(b"GRAY", b"XYZ ", b"mntr", {**_WORDS, b"wtpt": _xyz(D50), b"kTRC": _gamma(gamma)})


@pytest.mark.parametrize("name", ["p3", "adobe"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_colours_of_other_spaces_are_converted_to_srgb(name, kind):
    options = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}, "JPEG": {"quality": 95}}[kind]
    payload = encoded(PHOTO, kind, icc_profile=profile_of(name), **options)
    stored = form_of(payload, STORED)
    expected = srgb_of_xyz((stored / 255.0) ** 2.19921875 @ to_xyz(name).T)
    difference = np.abs(form_of(payload, SRGB) - expected)
    assert difference.max() <= 3
    assert difference.mean() < 0.5
    assert np.abs(stored - expected).max() > 15
    # Nobody else notices.
    assert np.array_equal(stored, form_of(encoded(PHOTO, kind, **options), STORED))
    assert np.array_equal(stored, form_of(payload, READABLE))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_greys_have_profiles_of_their_own(kind):
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).repeat(4).reshape(8, 128))
    payload = encoded(grey, kind, icc_profile=grey_profile(1.75))
    stored = form_of(payload, STORED)
    expected = srgb_of_xyz((stored[..., :1] / 255.0) ** 1.75 * D50)
    assert np.abs(form_of(payload, SRGB) - expected).max() <= 2


# Lab at D50 of paper, each ink, and each pair: any that no formula for inks would give.
_INKS = {0: (100, 0, 0), 1: (55, -20, -30), 2: (50, 50, 0), 4: (85, -5, 60), 3: (30, 15, -35),
         5: (50, -35, 20), 6: (48, 50, 35), 7: (20, 0, 0)}  # fmt: skip


def cmyk_profile() -> bytes:
    """A printer's with a table of 2⁴ colours: ICC.1:2010, 10.8 (lut8Type)."""
    grid = b""
    for number in range(16):
        cyan, magenta, yellow, black = (number >> shift & 1 for shift in (3, 2, 1, 0))
        lightness, a, b = _INKS[cyan + 2 * magenta + 4 * yellow]
        lightness *= 1 - black
        grid += bytes((round(lightness * 2.55), 128 + a * (1 - black), 128 + b * (1 - black)))
    unity = struct.pack(">9i", *(65536 * value for value in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    ramp = bytes(range(256))
    table = b"mft1\0\0\0\0\4\3\2\0" + unity + ramp * 4 + grid + ramp * 3
    return _icc(b"CMYK", b"Lab ", b"prtr", {**_WORDS, b"wtpt": _xyz(D50), b"A2B0": table})


def xyz_of_lab(lab: tuple[int, int, int]) -> np.ndarray:
    """CIE 15, 8.2.1."""
    y = (lab[0] + 16) / 116
    parts = np.array((y + lab[1] / 500, y, y - lab[2] / 200))
    return D50 * np.where(parts > 6 / 29, parts**3, 3 * (6 / 29) ** 2 * (parts - 4 / 29))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_inks_look_as_their_profile_says(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    for number, lab in _INKS.items():
        inks = tuple(255 * (number >> bit & 1) for bit in range(3))
        image = Image.new("CMYK", (16, 8), (*inks, 0))
        payload = encoded(image, kind, icc_profile=cmyk_profile(), exif=exif, **options)
        pixels = form_of(payload, SRGB)
        assert pixels.shape == ((8, 16, 3) if orientation == 1 else (16, 8, 3))
        assert np.abs(pixels - srgb_of_xyz(xyz_of_lab(lab))).max() <= 4, inks


@pytest.mark.parametrize(
    "profile",
    [
        b"nonsense",
        profile_of("p3")[:200],
        profile_of("p3")[:132] + bytes(400),
        b"\0" * 500,
        cmyk_profile(),
        grey_profile(1.0),
        profile_of("p3") + bytes(5 << 20),
    ],
    ids=["nonsense", "cut", "empty", "zeros", "of inks", "of greys", "huge"],
)
def test_a_profile_that_is_of_no_use_is_passed_over(profile):
    for kind in ("PNG", "JPEG"):
        payload = encoded(PHOTO, kind, icc_profile=profile)
        assert np.array_equal(form_of(payload, SRGB), form_of(payload, STORED))


def test_one_photograph_with_two_profiles_has_the_same_colours():
    p3, srgb = ((CASES / f"portrait_{name}.jpg").read_bytes() for name in ("p3", "srgb"))
    one, other = form_of(p3, SRGB).astype(int), form_of(srgb, SRGB).astype(int)
    assert np.abs(one - other).mean() < 2
    assert np.abs(one.mean((0, 1)) - other.mean((0, 1))).max() < 1
    # Not so where nobody looks at the profile.
    difference = form_of(p3, STORED).mean((0, 1)) - form_of(srgb, STORED).mean((0, 1))
    assert np.abs(difference).max() > 3


def test_a_picture_is_converted_in_parts_without_seams(monkeypatch):
    payload = encoded(PHOTO, "PNG", icc_profile=profile_of("adobe"))
    transparent = WAYS["png"](text((0, 90, 0), (0, 0, 0)))
    wholes = form_of(payload, SRGB), form_of(transparent, READABLE)
    monkeypatch.setattr("hearth.media.strips._STRIP_PIXELS", 75 * 7)
    assert np.array_equal(form_of(payload, SRGB), wholes[0])
    assert np.array_equal(form_of(transparent, READABLE), wholes[1])
