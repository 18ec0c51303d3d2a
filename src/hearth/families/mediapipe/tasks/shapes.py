"""Points and boxes as JSON has them: in pixels, as shares of the picture, or both."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hearth.catalog import FieldInfo, FieldKind
from hearth.families.mediapipe.tasks.options import COORDINATES
from hearth.tasks.task import Call

_PIXEL_DIGITS = 2
_NORMALIZED_DIGITS = 6
"""Digits that tell a hundredth of a pixel in a picture of 10,000."""
_METRE_DIGITS = 5
_CERTAINTY_DIGITS = 4


class Size(NamedTuple):
    """Width and height of a picture, in pixels."""

    width: int
    height: int


def placed(name: str, kind: FieldKind, summary: str) -> tuple[FieldInfo, FieldInfo]:
    """Describe what ``points`` and ``box`` write: a field in pixels, and one in shares."""
    return (
        FieldInfo(name, kind, f"{summary}, in pixels", optional=True),
        FieldInfo(f"{name}_normalized", kind, f"{summary}, 0 to 1 of the picture", optional=True),
    )


BOX = placed("box", "box", "left, top, right, bottom")


def points(name: str, values: NDArray[np.floating], size: Size, call: Call) -> dict[str, Any]:
    """Write points (n, 2 or 3) in pixels, under ``name`` and ``name_normalized``, as asked for.

    z is in pixels too, and its share is that of the width.
    """
    divisors = np.array([size.width, size.height, size.width][: values.shape[1]], np.float64)
    return _both(name, values, divisors, call)


def box(values: Sequence[float] | NDArray[np.floating], size: Size, call: Call) -> dict[str, Any]:
    """Write a box (left, top, right, bottom) in pixels, as ``box`` and ``box_normalized``."""
    divisors = np.array([size.width, size.height] * 2, np.float64)
    return _both("box", np.asarray(values, np.float64), divisors, call)


def named_points(
    name: str, names: Sequence[str], values: NDArray[np.floating], size: Size, call: Call
) -> dict[str, Any]:
    """Write points (n, 2) by their names, under ``name`` and ``name_normalized``."""
    lists: Mapping[str, Any] = points(name, values, size, call)
    return {key: dict(zip(names, value, strict=True)) for key, value in lists.items()}


def _both(
    name: str, values: NDArray[np.floating], divisors: NDArray[np.float64], call: Call
) -> dict[str, Any]:
    coordinates = call.options[COORDINATES.name]
    fields = {}
    if coordinates != "normalized":
        fields[name] = rounded(values, _PIXEL_DIGITS)
    if coordinates != "pixel":
        fields[f"{name}_normalized"] = rounded(values / divisors, _NORMALIZED_DIGITS)
    return fields


def metres(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Round points in metres, any shape."""
    return rounded(values, _METRE_DIGITS)


def certainties(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Round scores, 0 to 1, any shape."""
    return rounded(values, _CERTAINTY_DIGITS)


def certainty(value: float) -> float:
    """Round a score, 0 to 1."""
    return round(value, _CERTAINTY_DIGITS)


def rounded(values: NDArray[np.floating], digits: int) -> NDArray[np.float32]:
    """Round to few digits, which JSON writes short; C-contiguous.

    Float32: JSON takes two thirds of the time for it that it does for float64.
    """
    return np.ascontiguousarray(np.round(values.astype(np.float32), digits))
