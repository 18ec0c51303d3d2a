"""How a TIFF file keeps the samples of a picture, and who reads them so."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from hearth.errors import InvalidInput
from hearth.media import tiff
from hearth.media.tiff import Directory

# Tags of TIFF 6.0, and of its supplement for the last two.
BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANAR, EXTRA, FORMAT = 258, 259, 262, 277, 284, 338, 339

WHITE_IS_ZERO, BLACK_IS_ZERO, _RGB, _PALETTE, CMYK, _YCBCR, _LAB = 0, 1, 2, 3, 5, 6, 8
COLOURS: Mapping[int, int] = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, _RGB: 3, CMYK: 4}
"""Channels by PhotometricInterpretation, of what is read here."""

NONE, OLD_JPEG = 1, 6
_LOSSLESS: Mapping[int, str] = {
    NONE: "", 5: "LZW", 8: "Deflate", 32773: "PackBits", 32946: "Deflate",
    34925: "LZMA", 50000: "Zstandard",
}  # fmt: skip
"""Compressions that give the samples as they are; libtiff has them all."""
_OF_PILLOW: Mapping[int, str] = {
    2: "CCITT RLE", 3: "CCITT G3", 4: "CCITT G4", OLD_JPEG: "old JPEG", 7: "JPEG",
    32771: "CCITT RLE",
}  # fmt: skip
"""Further ones of which Pillow gives pictures."""
_OTHERS: Mapping[int, str] = {
    32809: "ThunderScan", 33003: "JPEG 2000", 33005: "JPEG 2000", 34661: "JBIG",
    34676: "SGI LogLuv", 34712: "JPEG 2000", 34887: "LERC", 34892: "lossy JPEG", 34933: "PNG",
    34934: "JPEG XR", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip

_MOST_VALUES = 3 << 16
"""Values in fields that have one value, one for each channel, or three for each colour of a palette
of 16 bits; Pillow makes numbers of them one by one."""
_OF_FEW_VALUES = (256, 257, BITS, COMPRESSION, PHOTOMETRIC, 266, 274, SAMPLES, 278, 282, 283,
                  PLANAR, 296, 317, 320, 322, 323, EXTRA, FORMAT)  # fmt: skip

UINT, INT, FLOAT = 1, 2, 3
ASSOCIATED, UNASSOCIATED = 1, 2


class Layout(NamedTuple):
    """Way in which the samples of a picture are kept."""

    width: int
    height: int
    bits: int
    """Bits of a sample."""
    format: int
    """1 for whole numbers without a sign, 2 with a sign, 3 floats."""
    samples: int
    """Samples of a pixel."""
    is_planar: bool
    photometric: int
    extra: tuple[int, ...]
    compression: int

    def __str__(self) -> str:
        kind = {UINT: "", INT: " signed", FLOAT: " float"}.get(self.format, " complex")
        planar = " planar" if self.is_planar else ""
        names = {**_LOSSLESS, **_OF_PILLOW, **_OTHERS}
        how = names.get(self.compression, f"method {self.compression}")
        colours = {_PALETTE: " palette", CMYK: " CMYK", _YCBCR: " YCbCr", _LAB: " CIELab"}
        colour = colours.get(self.photometric, "")
        if self.photometric not in (*COLOURS, *colours):
            colour = f" (photometric interpretation {self.photometric})"
        compressed = f"compressed with {how}" if self.compression != NONE else "uncompressed"
        return (
            f"a TIFF of {self.samples}×{self.bits}-bit{kind}{planar}{colour} samples, {compressed}"
        )

    @property
    def is_plain(self) -> bool:
        """Whether Pillow reads it right: bytes that are a picture already."""
        if self.compression in _OF_PILLOW:
            return True
        # What stands beside the colours is alpha at most, and CMYK has none.
        usual = COLOURS.get(self.photometric, self.samples) + (self.photometric != CMYK)
        return (
            self.compression in _LOSSLESS
            and self.format == UINT
            and (self.bits == 8 or (self.bits in (1, 2, 4) and self.samples == 1))
            and self.samples <= usual
            and not (self.is_planar and self.samples > 1)
        )

    @property
    def is_readable(self) -> bool:
        """Whether it is read here, sample by sample."""
        depths = {UINT: (*range(1, 17), 32, 64), INT: (8, 16, 32, 64), FLOAT: (16, 32, 64)}
        return (
            self.compression in _LOSSLESS
            and self.bits in depths.get(self.format, ())
            and self.samples >= COLOURS.get(self.photometric, self.samples + 1)
        )


def layout_of(page: Directory) -> Layout:
    """Read the layout of a picture; raises InvalidInput where it has none that is sound."""
    width, height = page.size
    if not width or not height:
        raise tiff.broken("it has no size")
    for tag in _OF_FEW_VALUES:
        if page.count(tag) > _MOST_VALUES:
            raise tiff.broken(f"field {tag} has {page.count(tag):,} values")
    if any(len(np.unique(page.numbers(tag))) > 1 for tag in (BITS, FORMAT)):
        raise InvalidInput("a TIFF whose channels differ in bits isn't read here")
    # 4, undefined, is what old programs write for plain numbers.
    kind = page.number(FORMAT, UINT)
    return Layout(
        width, height, page.number(BITS, 1), UINT if kind == 4 else kind,
        page.number(SAMPLES, 1), page.number(PLANAR, 1) == 2, page.number(PHOTOMETRIC, -1),
        tuple(page.numbers(EXTRA).tolist()), page.number(COMPRESSION, NONE),
    )  # fmt: skip


def unreadable(layout: Layout, more: str = "") -> InvalidInput:
    """Say that a TIFF can't be read, and what it is."""
    return InvalidInput(f"{layout}{more}: not read here; send the image with 8-bit RGB samples")
