"""Bytes to arrays."""

from hearth.media.formats import FilePage
from hearth.media.forms import PixelForm
from hearth.media.images import HeavyImage, ImageReader
from hearth.media.picture import File, Picture

__all__ = ["File", "FilePage", "HeavyImage", "ImageReader", "Picture", "PixelForm"]
