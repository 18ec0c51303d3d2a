"""Pictures worked on some rows at a time: what is computed in between takes much more memory."""

from collections.abc import Iterator

_STRIP_PIXELS = 1 << 18
"""Floats of three channels take 3 MiB then, which stay in a core's cache."""


def strips(width: int, height: int, multiple: int = 1) -> Iterator[tuple[int, int]]:
    """Yield (top, bottom) of parts of a picture; tops are multiples of ``multiple``."""
    rows = max(1, _STRIP_PIXELS // (width * multiple)) * multiple
    for top in range(0, height, rows):
        yield top, min(top + rows, height)
