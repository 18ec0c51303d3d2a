"""JPEG XL, where Pillow's plugin for it is installed (the extra ``jxl``).

The plugin decodes a file as soon as it opens it. So the size is read here before, from the
codestream's head: ISO/IEC 18181-1, SizeHeader.
"""

from functools import cache
from io import BytesIO
from typing import Any

from PIL import ExifTags, ImageFile

from hearth.iso_media import boxes

_CODESTREAM = b"\xff\x0a"
_HEAD = 32
"""Bytes of the codestream that its size stands in, and more."""
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
    """Find the first bytes of the codestream, which may stand in boxes (ISO/IEC 18181-2)."""
    head = payload[:_HEAD]
    if not head.startswith(_CODESTREAM):
        head = b""
        for kind, content in boxes(payload, "JPEG XL"):
            if kind == b"jxlc":
                head = bytes(content[:_HEAD])
            elif kind == b"jxlp":  # a part, behind its number
                head += bytes(content[4 : 4 + _HEAD])
            if len(head) >= _HEAD or kind == b"jxlc":
                break
    if not head.startswith(_CODESTREAM):
        raise SyntaxError("no codestream of JPEG XL")
    return head[len(_CODESTREAM) :]


class _Bits:
    """Bits of some bytes, the lowest of each first."""

    def __init__(self, content: bytes) -> None:
        self._value = int.from_bytes(content, "little")

    def take(self, count: int) -> int:
        """Read the next ``count`` bits as a number."""
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        return value
