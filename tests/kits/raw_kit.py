"""Cameras' files, built by hand: directories with the previews and sensors that real ones have."""

import struct
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Union

import numpy as np
from PIL import Image

Value = Union[int, Sequence[int], bytes, "Blob", "Inside"]
Tags = Mapping[int, Value]


SIZE = (600, 400)
"""Of all the sensors."""


class Blob(bytes):
    """Bytes that stand elsewhere in the file; the field says where."""


class Inside(tuple[Tags, ...]):
    """Directories that stand elsewhere in the file; the field says where."""


def camera_file(*chain: Tags, order: str = "<", magic: bytes = b"", after: bytes = b"") -> bytes:
    """Directories one after another; ``after`` stands right behind the header."""
    mark = magic or {"<": b"II*\0", ">": b"MM\0*"}[order]
    body = bytearray(mark + bytes(4) + after)
    first = _written(body, chain, order)
    struct.pack_into(order + "I", body, 4, first)
    return bytes(body)


def _written(body: bytearray, chain: Sequence[Tags], order: str) -> int:
    following = 0
    for tags in reversed(chain):
        fields = b""
        for tag, value in sorted(tags.items()):
            fields += struct.pack(order + "H", tag) + _field(body, value, order)
        at = len(body)
        body += struct.pack(order + "H", len(tags)) + fields + struct.pack(order + "I", following)
        following = at
    return following


def _field(body: bytearray, value: Value, order: str) -> bytes:
    if isinstance(value, Inside):
        value = [_written(body, [tags], order) for tags in value]
    elif isinstance(value, Blob):
        at = len(body)
        body += value
        value = at
    if isinstance(value, bytes):
        kind, count, content = 2, len(value), bytes(value)
    else:
        numbers = [value] if isinstance(value, int) else list(value)
        kind, count, content = 4, len(numbers), struct.pack(f"{order}{len(numbers)}I", *numbers)
    if len(content) > 4:
        at = len(body)
        body += content
        content = struct.pack(order + "I", at)
    return struct.pack(order + "HI", kind, count) + content.ljust(4, b"\0")


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture that is itself in no other orientation and at no other seed."""
    y, x = np.mgrid[0:height, 0:width]
    planes = (x * 255 / width, y * 255 / height, np.full((height, width), 40 + 60 * seed))
    return Image.fromarray(np.dstack(planes).astype(np.uint8))


def jpeg(image: Image.Image, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


def sensor(width: int, height: int, **more: Value) -> dict[int, Value]:
    """What a sensor has seen: a picture of noise, where somebody takes it for one."""
    noise = np.random.default_rng(1).integers(0, 255, width * height, np.uint8).tobytes()
    return {254: 0, 256: width, 257: height, 258: 8, 259: 1, 262: 32803, 273: Blob(noise), 277: 1,
            278: height, 279: len(noise)}  # fmt: skip


def by_offset(content: bytes, **more: Value) -> dict[int, Value]:
    """A JPEG as JPEGInterchangeFormat."""
    return {254: 1, 259: 6, 513: Blob(content), 514: len(content)}


def as_strip(content: bytes, size: tuple[int, int], compression: int = 7) -> dict[int, Value]:
    """A JPEG as the only strip."""
    return {254: 1, 256: size[0], 257: size[1], 258: 8, 259: compression, 262: 6,
            273: Blob(content), 277: 3, 278: size[1], 279: len(content)}  # fmt: skip


def thumbnail() -> dict[int, Value]:
    """Plain RGB, 16 × 12 pixels."""
    content = photo(16, 12, seed=2).tobytes()
    return {254: 1, 256: 16, 257: 12, 258: (8, 8, 8), 259: 1, 262: 2, 273: Blob(content), 277: 3,
            278: 12, 279: len(content)}  # fmt: skip


def nef(preview: bytes, orientation: int = 1, order: str = "<") -> bytes:
    """A file of Nikon's: a thumbnail first; inside a small JPEG, ``preview``, and the sensor."""
    inside = Inside((by_offset(jpeg(photo(60, 40, 3))), by_offset(preview), sensor(*SIZE)))
    return camera_file({**thumbnail(), 271: b"NIKON CORPORATION\0", 274: orientation, 330: inside},
                       order=order)  # fmt: skip
