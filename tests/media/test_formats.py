"""Every image format is read as it is meant, or refused by its name."""

import sys
from collections.abc import Iterator
from io import BytesIO
from itertools import product

import numpy as np
import pytest
from PIL import Image, ImageOps

from hearth.client.sources import PICTURE_ENDINGS
from hearth.errors import InvalidInput
from hearth.families.ocr.tasks import OCR_TASKS
from hearth.media import FilePage, ImageReader, formats
from heif_kit import (
    CASES,
    CODED,
    OTHERS,
    Item,
    Reference,
    box,
    exif,
    extent,
    grid,
    heif,
    mirror,
    rotation,
)

READER = ImageReader(10**7)
INVOICE = READER.pixels((CASES / "phone.heic").read_bytes())


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


SMALL = Image.new("RGB", (40, 30), "red")

STRANGERS = {
    "JPEG 2000": encode(SMALL, "JPEG2000"),
    "JPEG 2000 image": b"\xff\x4f\xff\x51" + bytes(90),
    "Photoshop": b"8BPS\0\1" + bytes(90),
    "EPS": encode(SMALL, "EPS"),
    "ICO": encode(SMALL, "ICO"),
    "ICNS": encode(Image.new("RGB", (16, 16)), "ICNS"),
    "DDS": encode(SMALL, "DDS"),
    "OpenEXR": b"\x76\x2f\x31\x01\2\0\0\0",
    "HDR": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n",
    "PNM": encode(SMALL, "PPM"),
    "TGA": encode(SMALL, "TGA") + bytes(8) + b"TRUEVISION-XFILE.\0",
    "PCX": encode(SMALL, "PCX"),
    "SGI": encode(SMALL, "SGI"),
    "SVG": b'<?xml version="1.0"?>\n<!-- made by hand -->\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "SVG drawing": b"<svg></svg>",
    "PDF": encode(SMALL, "PDF"),
    "HTML": b"<!DOCTYPE html><html><body>404</body></html>",
    "JSON": b'{"error": "not found"}',
    "text": b"hello",
    "but text": "grüße".encode("utf-16"),
    "base64": b"/9j/4AAQSkZJRgABAQ",
    "data URL": b"data:image/png;base64,iVBORw0KGgo",
    "ZIP": b"PK\3\4" + bytes(30),
    "archive": b"\x1f\x8b\x08" + bytes(30),
    "video": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(30),
    "a video": b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + bytes(30),
    "but a video": b"\x1aE\xdf\xa3" + bytes(30),
    "sound": b"RIFF\0\0\0\0WAVEfmt ",
    "a sound": b"\xff\xfb\x90\x00" + bytes(30),
    "Office": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(30),
    "program": b"\x7fELF" + bytes(30),
    "zeros": bytes(5000),
    "ORF": b"IIRO\x08\0\0\0" + bytes(30),
    "CR3": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(30),
    "coded as 'jpeg'": heif([Item(b"jpeg", b"\xff\xd8")], brands=b"mif1mif1"),
    "film without a still image": b"\0\0\0\x18ftypmsf1\0\0\0\0msf1hevc\0\0\0\x08moov",
}


@pytest.mark.parametrize("name", STRANGERS)
def test_what_is_not_read_is_refused_by_its_name(name):
    with pytest.raises(InvalidInput, match=name) as caught:
        READER.read(STRANGERS[name])
    message = str(caught.value)
    assert "\n" not in message
    assert "broken" not in message and "cut short" not in message


@pytest.mark.parametrize("payload", [b"\x80\x81\x82\x83", b"\0", b"\xfe"])
def test_what_nobody_knows_is_told_what_is_read(payload):
    with pytest.raises(
        InvalidInput, match="not an image that is read here: send the image as JPEG"
    ):
        READER.read(payload)


@pytest.mark.parametrize("text", [b"BMW drives on", b"GIF is a format", b"II is two", b"MM\0 "])
def test_a_text_that_begins_like_an_image_is_none(text):
    with pytest.raises(InvalidInput, match="not an image"):
        READER.read(text)


PROLOG = b'<?xml version="1.0"?>\n<!-- a > b -->\n<!-- made by hand --><!---->'
DOCTYPES = (
    b"<!DOCTYPE svg>",
    b'<!DOCTYPE svg PUBLIC "-//W3C" "svg11.dtd" [\n<!ENTITY a "b">\n]>\n',
)


@pytest.mark.parametrize("doctype", (b"", *DOCTYPES))
def test_a_drawing_is_known_behind_all_that_may_precede_it(doctype):
    with pytest.raises(InvalidInput, match="SVG"):
        READER.read(PROLOG + doctype + b'<svg xmlns="">')


@pytest.mark.parametrize("part", [b"<!---->", b"<?xml>", b"<!doctype svg>", b"<!-->-->", b"\n"])
def test_parts_that_may_be_repeated_are_read_once(part):
    """Exponential in their number, this would never end; it holds the interpreter besides."""
    for count in (40, 10**6):
        with pytest.raises(InvalidInput, match="not an image"):
            READER.read(b"<!---->" + part * count + b"x")


# --- HEIC -------------------------------------------------------------------------------------


def near(payload: bytes, right: np.ndarray, most: int = 1) -> None:
    pixels = READER.pixels(payload).astype(int)
    assert pixels.shape == right.shape
    assert np.abs(pixels - right).max() <= most


@pytest.mark.parametrize("brands", [
    b"heicmif1heic", b"mif1heic", b"mif1mif1heicmiaf", b"heixmif1", b"heimmif1", b"msf1heichevc",
    b"hevcmif1", b"heismif1", b"mif1mif1",
])  # fmt: skip
def test_heic_is_read_under_all_its_brands(brands):
    near(heif(brands=brands), INVOICE, 0)


def test_avif_is_told_from_heic_by_what_is_coded_in_it():
    avif = encode(Image.fromarray(INVOICE), "AVIF", quality=90)
    right = np.asarray(Image.open(BytesIO(avif)).convert("RGB"))
    assert avif[8:12] == b"avif"
    for brand in (b"avif", b"mif1"):
        near(avif[:8] + brand + avif[12:], right, 0)
    bare = avif[:8] + b"mif1" + avif[12:16] + avif[16:].replace(b"avif", b"mif1", 1)
    near(bare, right, 0)


@pytest.mark.parametrize("noted", [None, 1, 3, 6, 8])
def test_boxes_turn_heic_once_and_exif_never(noted):
    """Phones write the turn twice, as a box and as Exif; ISO/IEC 23008-12 has the box alone."""
    for quarters, axis in product(range(4), (None, 0, 1)):
        turns = [rotation(quarters), *([mirror(axis)] if axis is not None else [])]
        numbers = tuple(range(OTHERS, OTHERS + len(turns)))
        items = [CODED._replace(properties=CODED.properties + numbers)]
        references = []
        if noted is not None:
            items.append(exif(noted))
            references.append(Reference(b"cdsc", 2, (1,)))
        right = np.rot90(INVOICE, quarters)
        right = right if axis is None else np.flip(right, axis)
        near(heif(items, turns, references=references), right)


def test_a_heic_of_tiles_is_one_picture():
    items = [CODED, CODED, Item(b"grid", grid(1, 2, 1280, 240), (OTHERS,))]
    payload = heif(items, [extent(1280, 240)], main=3, references=[Reference(b"dimg", 3, (1, 2))])
    near(payload, np.hstack([INVOICE, INVOICE]))


def test_previews_in_a_heic_are_not_answered_from():
    turned = CODED._replace(properties=(*CODED.properties, OTHERS))
    for main, preview in ((1, 2), (2, 1)):
        items = [CODED, turned] if main == 1 else [turned, CODED]
        payload = heif(items, [rotation(2)], main=main,
                       references=[Reference(b"thmb", preview, (main,))])  # fmt: skip
        near(payload, INVOICE, 0)


@pytest.mark.parametrize("name", ["ten_bit.heic", "alpha.heic", "second_is_main.heic"])
def test_ten_bits_alpha_and_several_images(name):
    y, x = np.mgrid[0:48, 0:80]
    near((CASES / name).read_bytes(), np.dstack([3 * x, 5 * y, 128 + 0 * x]))


def test_a_heic_with_too_many_pixels_is_refused_before_it_is_decoded():
    payload = heif()
    with pytest.raises(InvalidInput, match="640×240 pixels; at most 10,000"):
        ImageReader(10_000).read(payload)
    # One that says it were small is none.
    lying = payload.replace(extent(640, 240), extent(64, 24))
    with pytest.raises(InvalidInput):
        ImageReader(10_000).read(lying)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_a_heic_that_is_cut_short_is_called_so(share):
    payload = heif()
    with pytest.raises(InvalidInput, match="broken or cut short"):
        READER.read(payload[: int(share * len(payload))])


@pytest.mark.parametrize("kind", [b"\xe6xif", b"Exi\xff"])
def test_an_item_without_a_sound_name_is_refused_and_ends_no_process(kind):
    """pi_heif 1.4 dereferences a null pointer while it tells of such items."""
    notes = exif(6)._replace(kind=kind)
    payload = heif([CODED, notes], references=[Reference(b"cdsc", 2, (1,))])
    with pytest.raises(InvalidInput, match="broken"):
        READER.read(payload)


@pytest.mark.parametrize("size", [0, 1, 5000, 1 << 24])
def test_an_item_of_a_size_that_none_has_is_refused(size):
    payload = heif()
    at = payload.index(b"infe") - 4
    with pytest.raises(InvalidInput, match="broken"):
        READER.read(payload[:at] + size.to_bytes(4) + payload[at + 4 :])


@pytest.mark.parametrize("entry", [box(b"infe", bytes(8)), box(b"free")])
def test_more_boxes_than_any_file_has_are_refused(entry):
    brand = box(b"ftyp", b"heic", bytes(4))
    with pytest.raises(InvalidInput, match="HEIF"):
        READER.read(brand + box(b"meta", bytes(4), entry * 20_000))
    # Each claims all that follows: to look at it would take days.
    claims = b"".join((8 * n).to_bytes(4) + b"infe" for n in range(500_000, 0, -1))
    with pytest.raises(InvalidInput, match="HEIF"):
        READER.read(brand + box(b"meta", bytes(4), claims))


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """For pretending that packages are missing: what was found is forgotten before and after."""
    found = (formats.heif.heic_opener, formats.jpeg_xl.is_installed)
    for each in found:
        each.cache_clear()
    yield monkeypatch
    for each in found:
        each.cache_clear()


def test_packages_are_looked_for_once(packages):
    [ocr] = OCR_TASKS
    formats.import_decoders()
    readable = ocr.readable
    for module in ("pi_heif", "pi_heif.as_plugin", "pillow_jxl"):
        packages.setitem(sys.modules, module, None)
    assert ocr.readable == readable


def test_without_its_decoder_heic_is_refused_by_name_and_not_offered(packages):
    [ocr] = OCR_TASKS
    assert {"image/heic", "image/heif"} <= set(ocr.readable)
    formats.heif.heic_opener.cache_clear()
    for module in ("pi_heif", "pi_heif.as_plugin"):
        packages.setitem(sys.modules, module, None)
    with pytest.raises(InvalidInput, match=r"a HEIC image: .*pip install pi-heif"):
        READER.read(heif())
    assert not {"image/heic", "image/heif"} & set(ocr.readable)
    with pytest.raises(InvalidInput) as caught:
        READER.read(b"\x80")
    assert "HEIC" not in str(caught.value)


# --- JPEG XL ----------------------------------------------------------------------------------


@pytest.fixture
def jpeg_xl() -> None:
    pytest.importorskip("pillow_jxl", reason="pillow-jxl-plugin isn't installed")


PHOTO = Image.fromarray(np.dstack([np.mgrid[0:30, 0:50][0] * 8, np.mgrid[0:30, 0:50][1] * 5,
                                   np.full((30, 50), 90)]).astype(np.uint8))  # fmt: skip


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_jpeg_xl_is_read_where_its_plugin_is(jpeg_xl, mode):
    payload = encode(PHOTO.convert(mode), "JXL", lossless=True)
    near(payload, np.asarray(PHOTO.convert(mode).convert("RGB")), 0)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (256, 128), (300, 225), (640, 360), (1000, 333)])
def test_the_size_of_a_jpeg_xl_is_known_before_it_is_decoded(jpeg_xl, size, monkeypatch):
    payload = encode(Image.new("RGB", size), "JXL")
    assert formats.jpeg_xl.size_of(payload) == size
    monkeypatch.setitem(sys.modules, "pillow_jxl.JpegXLImagePlugin", None)
    with pytest.raises(InvalidInput, match="pixels; at most 0 are allowed"):
        ImageReader(0).read(payload)


def test_a_jpeg_inside_of_a_jpeg_xl_is_turned_as_exif_says(jpeg_xl, tmp_path):
    notes = Image.Exif()
    notes[274] = 6
    (tmp_path / "a.jpg").write_bytes(file := encode(PHOTO, "JPEG", exif=notes))
    payload = encode(Image.open(tmp_path / "a.jpg"), "JXL", lossless_jpeg=True)
    near(payload, np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(file)))), 3)


def test_a_jpeg_xl_that_is_cut_short_is_called_so(jpeg_xl):
    payload = encode(PHOTO, "JXL")
    for end in (2, 12, len(payload) // 2):
        with pytest.raises(InvalidInput, match="broken or cut short"):
            READER.read(payload[:end])


def test_without_its_plugin_jpeg_xl_is_refused_by_name_and_not_offered(packages):
    [ocr] = OCR_TASKS
    packages.setitem(sys.modules, "pillow_jxl", None)
    for payload in (b"\xff\x0a" + bytes(40), b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40)):
        with pytest.raises(InvalidInput, match=r"a JPEG XL image: .*pip install pillow-jxl-plugin"):
            READER.read(payload)
    assert "image/jxl" not in ocr.readable


# --- pages ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "BMP", "GIF"])
def test_other_formats_have_one_page(kind):
    payload = encode(SMALL, kind)
    assert formats.page_count(payload) == 1
    assert READER.read(FilePage(payload, 1)).size == (40, 30)
    with pytest.raises(InvalidInput, match="page = 2: this image has 1 page"):
        READER.pixels(FilePage(payload, 2))


def test_what_is_read_is_known_to_clients_by_its_ending():
    assert set(formats.IMAGES) <= set(PICTURE_ENDINGS.values())
