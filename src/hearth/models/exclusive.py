"""Pictures that take a lot of memory are decoded one at a time, and in nobody's way."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from hearth.batching import Exclusive
from hearth.media import HeavyImage, ImageReader

File = TypeVar("File")
Item = TypeVar("Item")


def exclusive_when_heavy(
    prepare: Callable[[ImageReader, File], Item], reader: ImageReader
) -> Callable[[File], Item]:
    """``prepare`` for a batch queue, whose threads leave heavy pictures to the one for these.

    It is begun anew there. All that it reads, it reads with its first argument.
    """
    alone = partial(prepare, reader)

    def light(payload: File) -> Item:
        try:
            return prepare(reader.light, payload)
        except HeavyImage:
            raise Exclusive(alone) from None

    return light
