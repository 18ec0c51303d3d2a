"""JPEG XL, where Pillow's plugin for it is installed (the extra ``jxl``).

The plugin decodes a file as soon as it opens it. So the size is read here before, from the
codestream's head: ISO/IEC 18181-1, SizeHeader.
"""

import struct
from functools import cache
from io import BytesIO
from typing import Any

from PIL import ExifTags, ImageFile

_CODESTREAM = b"\xff\x0a"
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
"""Width to height, by their number."""


class JpegXlFile(ImageFile.ImageFile):
    """A JPEG XL file as an image of Pillow's; its first frame."""

    format = "JXL"
    format_description = "JPEG XL, by way of Pillow's plugin"

    def _open(self) -> None:
        assert self.fp is not None
        self._content = self.fp.read()
        self._size = size_of(self._content)
        self._mode = "RGB"  # until it is decoded
        self.tile = []

    def load(self) -> Any:
        """Decode the file, once."""
        if self._content:
            from pillow_jxl.JpegXLImagePlugin import JXLImageFile

            try:
                image = JXLImageFile(BytesIO(self._content))
            except Exception:  # it says nothing but that libjxl failed
                raise SyntaxError("JPEG XL") from None
            with image:
                image.load()
                self.im, self._mode, self._size = image.im, image.mode, image.size
                self.info = dict(image.info)
                # A JPEG that was packed comes out as it was; all else comes out upright.
                if not image.jpeg:
                    self.getexif()[ExifTags.Base.Orientation] = 1
            self._content = b""
        return super().load()


@cache  # Python doesn't remember imports that failed
def is_installed() -> bool:
    """Tell whether JPEG XL can be read."""
    try:
        import pillow_jxl  # noqa: F401
    except ImportError:
        return False
    return True


def size_of(payload: bytes) -> tuple[int, int]:
    """Read width and height in pixels, as coded; raises SyntaxError where there is no head."""
    bits = _Bits(_head(payload))
    by_eight = bits.take(1)
    height = _length(bits, by_eight)
    if ratio := _RATIOS.get(bits.take(3)):
        return height * ratio[0] // ratio[1], height
    return _length(bits, by_eight), height


def _length(bits: "_Bits", by_eight: int) -> int:
    if by_eight:
        return 8 * (bits.take(5) + 1)
    return bits.take((9, 13, 18, 30)[bits.take(2)]) + 1


def _head(payload: bytes) -> bytes:
    """Find the first bytes of the codestream, which may stand in a box (ISO/IEC 18181-2)."""
    at = 0
    for _ in range(100):
        if payload.startswith(_CODESTREAM, at):
            return payload[at + 2 : at + 32]
        if at + 16 > len(payload):
            break
        size, name = struct.unpack_from(">I4s", payload, at)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", payload, at + 8)
            head = 16
        if name in (b"jxlc", b"jxlp"):
            at += head + (4 if name == b"jxlp" else 0)
        elif size < head:
            break
        else:
            at += size
    raise SyntaxError("no codestream of JPEG XL")


class _Bits:
    """Bits of some bytes, the lowest of each first."""

    def __init__(self, content: bytes) -> None:
        self._value = int.from_bytes(content, "little")

    def take(self, count: int) -> int:
        """Read the next ``count`` bits as a number."""
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        return value
