"""Image files on their way into an image tower."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from hearth.families.clip.tensors import PreparedTensor, read_tensor
from hearth.families.clip.tower import Tower
from hearth.families.clip.transform import ImageTransform
from hearth.media import ImagePayload, ImageReader, Picture
from hearth.models.rows import BatchRow, Slab

_SLAB_BYTES = 32 * 2**20
"""Enough for two batches of 100 pictures of 224 pixels; a slab is filled round and round, so
it is all in memory sooner or later."""


class SharedPicture:
    """A picture that several models look at, one after another; it is decoded once.

    What is kept of a file is the picture as each of ``transforms`` wants it, never the whole.
    """

    def __init__(self, file: ImagePayload, transforms: Sequence[ImageTransform]) -> None:
        self.file = file
        self._transforms = transforms
        self._resized: dict[ImageTransform, Image.Image] = {}

    def resized(self, transform: ImageTransform, reader: ImageReader) -> Image.Image:
        """Give the picture at the size of one of the transforms; blocking. Raises as the reader
        does.
        """
        if not self._resized:
            at_least = max(each.at_least for each in self._transforms)
            image = _read(self.file, reader, at_least)
            self._resized = {each: each.resized(image) for each in set(self._transforms)}
        return self._resized[transform]


class TowerPreprocessor:
    """Makes rows for ``tower``'s queue of image files; any number of threads may.

    About ``rows`` of them are expected to be held at a time; more only cost a little more.
    """

    def __init__(self, tower: Tower, transform: ImageTransform, *, rows: int = 64) -> None:
        self._tower = tower
        self._transform = transform
        self._at_least = transform.at_least
        shape = tower.picture_shape(transform.height, transform.width)
        row_bytes = math.prod(shape) * tower.dtype.itemsize
        self._slab = Slab(max(1, min(rows, _SLAB_BYTES // row_bytes)), shape, tower.dtype)

    def prepare(
        self, reader: ImageReader, picture: ImagePayload | SharedPicture | PreparedTensor
    ) -> BatchRow:
        """Prepare a picture as the tower takes it; blocking. Raises as the reader does.

        A PreparedTensor is for a tower that takes such alone (``Tower.prepared``).
        """
        if isinstance(picture, PreparedTensor):
            return self._tensor(picture)
        row = self._slab.take()
        if isinstance(picture, SharedPicture):
            self._write(picture.resized(self._transform, reader), row)
        elif isinstance(picture, Picture):
            self._write(self._transform.resized(picture.image(reader)), row)
        elif self._tower.takes_pixels:
            fit = self._transform.resized
            reader.read_into(row.array, picture, fit, at_least=self._at_least)
        else:
            self._normalise(reader.read(picture, at_least=self._at_least), row)
        return row

    def blank(self) -> BatchRow:
        """Make a black picture, for proofs and measurements."""
        row = self._slab.take()
        self._write(Image.new("RGB", (self._transform.width, self._transform.height)), row)
        return row

    def _tensor(self, tensor: PreparedTensor) -> BatchRow:
        prepared = self._tower.prepared
        assert prepared is not None
        planes = read_tensor(tensor, (self._transform.height, self._transform.width))
        item = planes.transpose(1, 2, 0) if prepared.channels_last else planes
        return BatchRow(item.astype(prepared.dtype, copy=False))

    def _write(self, image: Image.Image, row: BatchRow) -> None:
        if self._tower.takes_pixels:
            row.array[...] = self._transform.pixels(image)
        else:
            self._normalise(image, row)

    def _normalise(self, image: Image.Image, row: BatchRow) -> None:
        last = self._tower.channels_last
        channels_first = row.array.transpose(2, 0, 1) if last else row.array
        if channels_first.dtype == np.float32:
            self._transform.prepare(image, channels_first)
        else:
            channels_first[...] = self._transform.prepare(image)


def _read(file: ImagePayload, reader: ImageReader, at_least: int) -> Image.Image:
    if isinstance(file, Picture):
        return file.image(reader)
    return reader.read(file, at_least=at_least)
