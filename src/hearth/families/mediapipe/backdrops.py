"""Pictures that stand behind people, ready to be put there."""

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

from hearth.media.raw import Pixels

_MOST_BYTES = 64 * 1024 * 1024
"""Bytes kept of all clients together: ten in full HD."""


class Backdrops:
    """The latest backdrops at the sizes they were wanted in.

    A video's comes with every frame, and is read once. Any number of threads may share one.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[tuple[str, int, int], Pixels] = OrderedDict()
        self._lock = threading.Lock()

    def fitted(self, text: str, load: Callable[[], Image.Image], width: int, height: int) -> Pixels:
        """Return RGB uint8 (height, width, 3), read-only: the image's middle, as large as it can
        be.

        ``text`` stands for the image, which ``load`` gives if it must. Blocking; raises what
        ``load`` raises.
        """
        key = (text, width, height)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        image = ImageOps.fit(load(), (width, height), Image.Resampling.BICUBIC)
        pixels = np.asarray(image)
        pixels.flags.writeable = False
        with self._lock:
            self._kept[key] = pixels
            while self.bytes > self._most_bytes:
                self._kept.popitem(last=False)
        return pixels

    @property
    def bytes(self) -> int:
        """Bytes that are held, with the texts they are known by."""
        return sum(len(text) + pixels.nbytes for (text, _, _), pixels in self._kept.items())
