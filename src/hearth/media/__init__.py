"""Bytes to arrays."""

from hearth.media.images import HeavyImage, ImageReader
from hearth.media.picture import Picture

__all__ = ["HeavyImage", "ImageReader", "Picture"]
