"""Content of an answer, whichever of its forms was asked for."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hearth.client import Outcome
from hearth.media.raw import Pixels
from hearth.watch.canvas import Canvas

Content = Mapping[str, Any]


def points(thing: Content, name: str, canvas: Canvas) -> NDArray[np.float64]:
    """Read points (n, 2 or 3) in pixels of the frame that was sent; raises KeyError, ValueError.

    In one flat list they are pairs.
    """
    if name in thing:
        values = np.asarray(_listed(thing[name]), np.float64)
        return values.reshape(-1, 2) if values.ndim == 1 else values
    shares = np.asarray(_listed(thing[f"{name}_normalized"]), np.float64)
    return shares[:, :2] * canvas.sent


def box(thing: Content, name: str, canvas: Canvas) -> list[float]:
    """Read a box (left, top, right, bottom) in the same pixels; raises KeyError, ValueError."""
    if name in thing:
        return [float(edge) for edge in thing[name]]
    left, top, right, bottom = thing[f"{name}_normalized"]
    width, height = canvas.sent
    return [left * width, top * height, right * width, bottom * height]


def _listed(values: Any) -> list[Any]:
    return list(values.values() if isinstance(values, Mapping) else values)


def schema_of(outcome: Outcome) -> str:
    """Return the schema of an answer, which older nodes tell in its mime alone."""
    return outcome.schema or outcome.mime.partition("schema=")[2].partition(";")[0].strip()


def picture_of(outcome: Outcome) -> Pixels | None:
    """Decode the picture that is the answer: grey (height, width), RGB or RGBA uint8.

    None where it is no picture. Raises ValueError.
    """
    import cv2

    if not outcome.mime.startswith("image/"):
        return None
    pixels = cv2.imdecode(np.frombuffer(outcome.body, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint8:
        raise ValueError("the answer's picture can't be read")
    codes = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}
    read: Pixels = cv2.cvtColor(pixels, codes[pixels.shape[2]]) if pixels.ndim == 3 else pixels
    return read


def raw_mask_of(outcome: Outcome) -> Pixels | None:
    """Return a mask of a byte a pixel (height, width), which has no file around it, or None."""
    if "coverage" not in outcome.meta or outcome.is_json:
        return None
    size = int(outcome.meta["height"]), int(outcome.meta["width"])
    return np.frombuffer(outcome.body, np.uint8).reshape(size)


def mask_of_runs(content: Content) -> Pixels:
    """Make a mask (height, width) of 0 and 255 from its runs' lengths; raises ValueError."""
    height, width = int(content["height"]), int(content["width"])
    counts = np.asarray(content["counts"], np.int64)
    values = np.zeros(len(counts), np.uint8)
    values[1::2] = 255
    if counts.sum() != width * height:
        raise ValueError("the runs are not those of a mask of this size")
    return np.repeat(values, counts).reshape(height, width)
