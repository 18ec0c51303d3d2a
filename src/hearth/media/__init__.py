"""Bytes to arrays."""

from hearth.media.formats import FilePage
from hearth.media.forms import PixelForm
from hearth.media.images import ImageReader
from hearth.media.medium import Decodable, Decoder, HeavyPayload, Medium
from hearth.media.picture import IMAGE, ImagePayload, Picture

__all__ = [
    "IMAGE",
    "Decodable",
    "Decoder",
    "FilePage",
    "HeavyPayload",
    "ImagePayload",
    "ImageReader",
    "Medium",
    "Picture",
    "PixelForm",
]
