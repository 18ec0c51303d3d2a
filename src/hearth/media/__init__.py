"""Bytes to arrays."""

from hearth.media.images import ImageReader

__all__ = ["ImageReader"]
