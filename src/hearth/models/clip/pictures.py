"""Image files on their way into an image tower."""

import math

import numpy as np
from PIL import Image

from hearth.media import ImageReader
from hearth.models.clip.tower import Tower
from hearth.models.clip.transform import ImageTransform
from hearth.models.rows import Row, Rows

_SLAB_BYTES = 32 * 2**20
"""Enough for two batches of 100 pictures of 224 pixels; a slab is filled round and round, so
it is all in memory sooner or later."""


class Pictures:
    """Makes rows for ``tower``'s queue of image files; any number of threads may.

    About ``rows`` of them are expected to be held at a time; more only cost a little more.
    """

    def __init__(
        self, tower: Tower, transform: ImageTransform, reader: ImageReader, *, rows: int = 64
    ) -> None:
        self._tower = tower
        self._transform = transform
        self._reader = reader
        shape = tower.picture_shape(transform.height, transform.width)
        row_bytes = math.prod(shape) * tower.dtype.itemsize
        self._rows = Rows(max(1, min(rows, _SLAB_BYTES // row_bytes)), shape, tower.dtype)

    def prepare(self, payload: bytes, *, heavy: bool = True) -> Row:
        """An image file as the tower takes it; blocking. Raises InvalidInput.

        ``heavy`` as ImageReader has it, which may raise HeavyImage.
        """
        row, at_least = self._rows.take(), self._transform.at_least
        if self._tower.takes_pixels:
            resized = self._transform.resized
            self._reader.read_into(row.array, payload, resized, at_least=at_least, heavy=heavy)
        else:
            self._normalise(self._reader.read(payload, at_least=at_least, heavy=heavy), row)
        return row

    def blank(self) -> Row:
        """A black picture, for proofs and measurements."""
        row = self._rows.take()
        black = Image.new("RGB", (self._transform.width, self._transform.height))
        if self._tower.takes_pixels:
            row.array[...] = self._transform.pixels(black)
        else:
            self._normalise(black, row)
        return row

    def _normalise(self, image: Image.Image, row: Row) -> None:
        last = self._tower.channels_last
        channels_first = row.array.transpose(2, 0, 1) if last else row.array
        if channels_first.dtype == np.float32:
            self._transform.prepare(image, channels_first)
        else:
            channels_first[...] = self._transform.prepare(image)
