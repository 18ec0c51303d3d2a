"""Colours of files with an ICC profile, in sRGB: with LittleCMS, as Pillow has it."""

from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

from hearth.media.raw import Pixels
from hearth.media.strips import strips

_LARGEST_PROFILE = 4 << 20
"""Bytes. Those of printing presses have two millions."""

_MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
"""Pillow's modes by a profile's data colour space: ICC.1:2022, 7.2.6."""

_SAME = 2
"""Levels within which colours count as those of sRGB already."""


@dataclass(frozen=True)
class Colours:
    """Colour space of a picture, and the way from there to sRGB."""

    transform: ImageCms.ImageCmsTransform
    mode: str
    """RGB, L or CMYK: what the transform takes."""
    inks: Image.Image | None = None
    """The picture in CMYK, where that is what the profile is of."""


def colours_of(profile: bytes, image_mode: str, inks: Image.Image | None = None) -> Colours | None:
    """Read a profile for a picture of this mode; None where it is sRGB's, or of no use."""
    mode = _MODES.get(profile[16:20])
    fits = mode == image_mode or (mode == "RGB" and image_mode not in ("L", "CMYK"))
    if mode is None or not fits or len(profile) > _LARGEST_PROFILE:
        return None
    transform = _transform(profile, mode)
    return None if transform is None else Colours(transform, mode, inks)


def to_srgb(rgb: Pixels, colours: Colours) -> Pixels:
    """Convert a picture, uint8 (height, width, 3), to sRGB."""
    height, width, _ = rgb.shape
    converted = np.empty_like(rgb)
    for top, bottom in strips(width, height):
        if colours.inks is not None:
            strip = colours.inks.crop((0, top, width, bottom))
        else:
            part = rgb[top:bottom, :, 0] if colours.mode == "L" else rgb[top:bottom]
            strip = Image.fromarray(np.ascontiguousarray(part))
        converted[top:bottom] = np.asarray(_applied(strip, colours.transform))
    return converted


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Build the transform to sRGB; None where it changes nothing, or the profile is broken."""
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB"), mode, "RGB"
        )
        probe = _probe(mode)
        change = np.asarray(_applied(probe, transform)) - np.asarray(probe.convert("RGB"), int)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return transform if np.abs(change).max() > _SAME else None


def _applied(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None
    return converted


def _probe(mode: str) -> Image.Image:
    """Make an image of colours from all over: 17 levels of each channel, or all of one."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    levels = np.linspace(0, 255, 17).round().astype(np.uint8)
    channels = np.meshgrid(*[levels] * 3)
    pixels = np.stack(channels, -1).reshape(1, -1, 3)
    return Image.fromarray(pixels).convert(mode)
