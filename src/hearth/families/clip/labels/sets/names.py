"""Hundreds of thousands of names in two arrays, a tenth of what they take as Python strings."""

from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]


class Names:
    """A read-only list of strings.

    ``text`` is all of them in UTF-8, uint8 (bytes,); ``offsets`` is where each begins and,
    at the end, where the last one ends: unsigned (names + 1,). Raises ValueError where the
    two don't go together.
    """

    def __init__(self, text: NDArray[np.uint8], offsets: NDArray[Any]) -> None:
        if text.ndim != 1 or offsets.ndim != 1 or not len(offsets) or offsets[-1] != len(text):
            raise ValueError("these are no names: text and offsets don't go together")
        self._text = text
        self._offsets = offsets

    @classmethod
    def of(cls, names: Iterable[str]) -> "Names":
        """Make names from strings; what can't be written in UTF-8 becomes a question mark."""
        text, offsets = bytearray(), array("Q", [0])
        for name in names:
            text += name.encode("utf-8", "replace")
            offsets.append(len(text))
        short = np.min_scalar_type(len(text))
        return cls(np.frombuffer(bytes(text), np.uint8), np.array(offsets, short))

    @classmethod
    def from_arrays(cls, arrays: Arrays, prefix: str) -> "Names":
        """Read what ``arrays`` gave; raises KeyError or ValueError for anything else."""
        return cls(arrays[f"{prefix}_text"], arrays[f"{prefix}_offsets"])

    def arrays(self, prefix: str) -> dict[str, NDArray[Any]]:
        """Return the arrays for an npz file."""
        return {f"{prefix}_text": self._text, f"{prefix}_offsets": self._offsets}

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> str:
        start, end = int(self._offsets[index]), int(self._offsets[index + 1])
        # Whatever a disk has made of it: an answer is no time to find out.
        return self._text[start:end].tobytes().decode("utf-8", "replace")

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))
