"""Bytes to arrays."""

from hearth.media.images import HeavyImage, ImageReader

__all__ = ["HeavyImage", "ImageReader"]
