"""How stored pixels become upright ones: TIFF 6.0 and Exif 2.32, tag 274 (Orientation)."""

import re

from PIL import ExifTags, Image

_METHODS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_IN_XMP = re.compile(rb"tiff:Orientation(?:=\"|>)([0-9])")

UPRIGHT = 1


def orientation_of(exif: bytes, xmp: bytes = b"") -> int:
    """Find the orientation in Exif, or else in XMP: 1 to 8, UPRIGHT where neither tells.

    Broken metadata is no reason to refuse good pixels.
    """
    try:
        tags = Image.Exif()
        tags.load(exif)
    except Exception:
        return UPRIGHT
    if ExifTags.Base.Orientation not in tags and (found := _IN_XMP.search(xmp)):
        return _known(int(found[1]))
    return tagged_orientation(tags)


def tagged_orientation(tags: Image.Exif) -> int:
    """Find the orientation among tags; UPRIGHT where they don't tell."""
    return _known(tags.get(ExifTags.Base.Orientation))


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn an image upright; gives itself if it is already."""
    return image.transpose(_METHODS[orientation]) if orientation in _METHODS else image


def _known(value: object) -> int:
    return value if isinstance(value, int) and value in _METHODS else UPRIGHT
