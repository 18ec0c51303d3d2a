"""Points and boxes as JSON has them: in pixels, as shares of the picture, or both."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hearth.tasks.mediapipe.frames import COORDINATES, Seen
from hearth.tasks.task import Call

_PIXEL_DIGITS = 2
_SHARE_DIGITS = 6
"""A share's digits: a hundredth of a pixel in a picture of 10,000."""


def points(name: str, values: NDArray[np.floating], seen: Seen, call: Call) -> dict[str, Any]:
    """Points (n, 2 or 3) in pixels, under ``name`` and ``name_normalized``, as asked for.

    z is in pixels too, and its share is that of the width.
    """
    divisors = np.array([seen.width, seen.height, seen.width][: values.shape[1]], np.float64)
    return _both(name, values, divisors, call)


def box(values: Sequence[float] | NDArray[np.floating], seen: Seen, call: Call) -> dict[str, Any]:
    """A box (left, top, right, bottom) in pixels, as ``box`` and ``box_normalized``."""
    divisors = np.array([seen.width, seen.height] * 2, np.float64)
    return _both("box", np.asarray(values, np.float64), divisors, call)


def named_points(
    name: str, names: Sequence[str], values: NDArray[np.floating], seen: Seen, call: Call
) -> dict[str, Any]:
    """Points (n, 2) by their names, under ``name`` and ``name_normalized``."""
    lists: Mapping[str, Any] = points(name, values, seen, call)
    return {key: dict(zip(names, value.tolist(), strict=True)) for key, value in lists.items()}


def _both(
    name: str, values: NDArray[np.floating], divisors: NDArray[np.float64], call: Call
) -> dict[str, Any]:
    wanted = call.options[COORDINATES.name]
    told = {}
    if wanted != "normalized":
        told[name] = rounded(values, _PIXEL_DIGITS)
    if wanted != "pixel":
        told[f"{name}_normalized"] = rounded(values / divisors, _SHARE_DIGITS)
    return told


def rounded(values: NDArray[np.floating], digits: int) -> NDArray[np.float64]:
    """Float64 with few digits, which JSON writes short; C-contiguous."""
    return np.ascontiguousarray(np.round(values.astype(np.float64), digits))
