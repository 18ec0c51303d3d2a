"""Pictures that take a lot of memory are decoded one at a time, and in nobody's way."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from hearth.batching import Alone
from hearth.media import HeavyImage

File_contra = TypeVar("File_contra", contravariant=True)
Item_co = TypeVar("Item_co", covariant=True)


class Prepare(Protocol[File_contra, Item_co]):
    """Makes an item of an image file; as ``ImageReader`` does with ``heavy``."""

    def __call__(self, payload: File_contra, /, *, heavy: bool = True) -> Item_co: ...


def lightly(prepare: Prepare[File_contra, Item_co]) -> Callable[[File_contra], Item_co]:
    """``prepare`` for a batch queue, whose threads leave heavy pictures to the one for these."""

    def light(payload: File_contra) -> Item_co:
        try:
            return prepare(payload, heavy=False)
        except HeavyImage:
            raise Alone(prepare) from None

    return light
