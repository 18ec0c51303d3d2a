"""TIFF files of every layout, without the encoders that tests can't count on."""

import struct
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

HEIGHT, WIDTH = 41, 59
"""No multiple of anything."""


def colours() -> NDArray[np.float64]:
    """(height, width, 3), 0 to 1: no two channels alike."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.dstack([x / (WIDTH - 1), y / (HEIGHT - 1), (x + y) / (HEIGHT + WIDTH - 2)])


def as_samples(shares: NDArray[np.float64], dtype: Any, bits: int = 0) -> NDArray[Any]:
    """0 to 1 as numbers of ``dtype``: floats as they are, others up to their largest."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return shares.astype(kind)
    top = 2**bits - 1 if bits else np.iinfo(kind).max
    return (shares * np.float64(top)).astype(kind)


def tiff(pixels: NDArray[Any], *, planar: bool = False, **options: Any) -> bytes:
    """(height, width) or (height, width, channels), as tifffile writes them."""
    buffer = BytesIO()
    if planar:
        pixels = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
        options["planarconfig"] = "separate"
    elif pixels.ndim == 3:
        options["planarconfig"] = "contig"
    tifffile.imwrite(buffer, pixels, metadata=None, **options)
    return buffer.getvalue()


def recompressed(payload: bytes, name: str) -> bytes:
    """An uncompressed TIFF with its strips compressed by libtiff; ``name`` is Pillow's for it."""
    compress, code = _compressing(name)
    with tifffile.TiffFile(BytesIO(payload)) as file:
        tags, order = file.pages[0].tags, file.byteorder
        offsets, sizes = tags["StripOffsets"].value, tags["StripByteCounts"].value
        file_with = bytearray(payload)
        places = []
        for offset, size in zip(offsets, sizes, strict=True):
            strip = compress(payload[offset : offset + size])
            places.append((len(file_with), len(strip)))
            file_with += strip
        for tag, column in (("StripOffsets", 0), ("StripByteCounts", 1)):
            kind = {3: "H", 4: "I"}[tags[tag].dtype]
            numbers = [place[column] for place in places]
            struct.pack_into(
                f"{order}{len(numbers)}{kind}", file_with, tags[tag].valueoffset, *numbers
            )
        struct.pack_into(f"{order}H", file_with, tags["Compression"].valueoffset, code)
    return bytes(file_with)


def _compressing(name: str) -> tuple[Callable[[bytes], bytes], int]:
    codes = {name: code for code, name in TiffImagePlugin.COMPRESSION_INFO.items()}

    def compress(strip: bytes) -> bytes:
        buffer = BytesIO()
        image = Image.frombytes("L", (len(strip), 1), strip)
        image.save(buffer, "TIFF", compression=name)
        tags = Image.open(buffer).tag_v2
        [at], [size] = tags[273], tags[279]
        return buffer.getvalue()[at : at + size]

    return compress, codes[name]
