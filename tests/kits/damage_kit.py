"""Image files for tests, whole and damaged in the ways of the field; all by seeds.

Damage is done to a file by one of ``HARMLESS`` (every pixel stays), by ``cut`` (some go), or by
``damaged`` (whatever happens happens).
"""

import struct
import zlib
from io import BytesIO

import cv2
import numpy as np
import skimage.data
from PIL import Image

PHOTO = Image.fromarray(skimage.data.astronaut()).resize((75, 61))
FILM = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom"


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes, checksum: int | None = None) -> bytes:
    """One of a PNG's."""
    if checksum is None:
        checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def segment(marker: int, data: bytes) -> bytes:
    """One of a JPEG's."""
    return struct.pack(">BBH", 255, marker, 2 + len(data)) + data


def interlaced(pixels: np.ndarray) -> bytes:
    """A PNG in Adam7's seven passes, which no library here writes."""
    height, width, _ = pixels.shape
    steps = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
             (0, 1, 1, 2))  # fmt: skip
    rows = (
        b"\0" + row.tobytes()
        for left, top, across, down in steps
        for row in pixels[top::down, left::across]
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    data = zlib.compress(b"".join(rows))
    parts = chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def deep_png() -> bytes:
    _, file = cv2.imencode(".png", np.asarray(PHOTO)[..., ::-1].astype(np.uint16) * 257)
    return bytes(file.tobytes())


def _with_much_around() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "somebody" * 30
    return exif


_AROUND = {"exif": _with_much_around(), "icc_profile": bytes(range(256)) * 4}

JPEGS = {
    "baseline": encoded(PHOTO, "JPEG", quality=90),
    "progressive": encoded(PHOTO, "JPEG", progressive=True),
    "grey": encoded(PHOTO.convert("L"), "JPEG"),
    "with restarts": encoded(PHOTO, "JPEG", restart_marker_blocks=3),
    "cmyk": encoded(PHOTO.convert("CMYK"), "JPEG"),
    "progressive cmyk": encoded(PHOTO.convert("CMYK"), "JPEG", progressive=True),
    "with metadata": encoded(PHOTO, "JPEG", comment=encoded(PHOTO, "JPEG"), **_AROUND),
}
PNGS = {
    **{mode: encoded(PHOTO.convert(mode), "PNG") for mode in ("RGB", "L", "1", "RGBA", "LA")},
    "palette": encoded(PHOTO.quantize(100), "PNG"),
    "transparent palette": encoded(PHOTO.quantize(9), "PNG", transparency=bytes(range(9))),
    "transparent colour": encoded(PHOTO, "PNG", transparency=(0, 0, 0)),
    "16 bits": deep_png(),
    "interlaced": interlaced(np.asarray(PHOTO)),
    "with metadata": encoded(PHOTO, "PNG", **_AROUND),
}
OTHERS = {
    "webp": encoded(PHOTO, "WEBP"),
    "lossless webp": encoded(PHOTO.convert("RGBA"), "WEBP", lossless=True),
    "gif": encoded(PHOTO, "GIF", save_all=True, append_images=[PHOTO.rotate(90)]),
    "bmp": encoded(PHOTO, "BMP"),
    "tiff": encoded(PHOTO, "TIFF"),
    "lzw tiff": encoded(PHOTO, "TIFF", compression="tiff_lzw"),
    "avif": encoded(PHOTO, "AVIF"),
}


def damaged(payload: bytes, rng: np.random.Generator) -> bytes:
    """The file after one or two accidents."""
    file = bytearray(payload)
    for _ in range(rng.integers(1, 3)):
        # Most of what a parser believes stands at the start.
        last = min(len(file), 900) if rng.random() < 0.4 else len(file)
        at = int(rng.integers(2, max(3, last)))
        match rng.integers(8):
            case 0:
                file[at : at + 1] = [rng.choice([0, 0xFF, 0xD0, 0xD9, 0xDA, rng.integers(256)])]
            case 1:
                file[at : at + 1] = bytes([file[at] ^ 1 << rng.integers(8)] if file[at:] else [])
            case 2:
                del file[at : at + rng.integers(1, 20)]
            case 3:
                file[at:at] = rng.bytes(rng.integers(1, 20))
            case 4:
                del file[-rng.integers(1, 30) :]
            case 5:
                del file[at:]
            case 6:
                file += tail(rng)
            case 7:
                file[at : at + 16] = bytes(16)
    return bytes(file)


def tail(rng: np.random.Generator) -> bytes:
    """What is found behind pictures."""
    tails = (b"", bytes(500), b"\xff" * 30, FILM + rng.bytes(3000), rng.bytes(9), b"A trailer.")
    return tails[rng.integers(len(tails))]
