"""A picture as detection takes it: its own pixels, within a bound of memory."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from hearth.families.ocr import parameters as p
from hearth.media.raw import Pixels

Corners = NDArray[np.float32]
"""Four points (x, y), (4, 2), from the top left clockwise, in pixels."""

Polygon = tuple[tuple[int, int], ...]
"""Four points, (x, y) in pixels, from the top left clockwise."""


class Page(NamedTuple):
    """A picture that lines are looked for on, and cut from."""

    pixels: Pixels
    """RGB, (height, width, 3): those that were sent, unless they are too many."""
    width: int
    """Width of the upright image that was sent."""
    height: int
    """Height of the upright image that was sent."""


def page_of(image: Pixels) -> Page:
    """Make a page of an upright RGB image (height, width, 3), of at most ``MOST_PIXELS``."""
    height, width = image.shape[:2]
    factor = (p.MOST_PIXELS / (width * height)) ** 0.5
    if factor < 1:
        # An edge of a single pixel stays one, and the other pays for it.
        across = max(1, int(width * factor))
        down = max(1, min(int(height * factor), p.MOST_PIXELS // across))
        image = resized(image, max(1, min(across, p.MOST_PIXELS // down)), down)
    return Page(image, width, height)


def polygon(page: Page, corners: Corners) -> Polygon:
    """Convert corners in the page's pixels to those of the image that was sent."""
    height, width = page.pixels.shape[:2]
    sent = np.rint(corners * (page.width / width, page.height / height)).astype(int)
    inside = np.clip(sent, 0, (page.width, page.height)).tolist()
    return tuple((x, y) for x, y in inside)


def resized(image: Pixels, width: int, height: int) -> Pixels:
    """Scale an image to a size, averaging where it shrinks: other filters alias."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = width <= image.shape[1] and height <= image.shape[0]
    scaled: Pixels = cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    return scaled
