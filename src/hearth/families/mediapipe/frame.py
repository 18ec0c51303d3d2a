"""A picture as the models of this package look at it."""

from typing import NamedTuple

from hearth.media.raw import Pixels


class Frame(NamedTuple):
    """An upright picture: RGB uint8 (height, width, 3), read-only."""

    pixels: Pixels

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[0])
