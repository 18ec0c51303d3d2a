"""An image made ready for text detection, and the way back to its own coordinates."""

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rapidocr.utils.process_img import (
    apply_vertical_padding,
    map_boxes_to_original,
    resize_image_within_bounds,
)

from hearth.media.raw import Pixels
from hearth.models.ocr import parameters as p

Boxes = NDArray[np.float32]

Polygon = tuple[tuple[int, int], ...]
"""Four points, (x, y) in pixels, from the top left clockwise."""


class Page(NamedTuple):
    """What the detector looks at."""

    pixels: Pixels
    """BGR, (height, width, 3), no edge over 2000 pixels by much, scaled and padded."""
    record: dict[str, dict[str, float]]
    """How it was scaled and padded, in rapidocr's notation."""
    width: int
    """Of the upright image that was sent."""
    height: int


def page_of(image: Pixels) -> Page:
    """An upright RGB image (height, width, 3) as a page."""
    height, width = image.shape[:2]
    small = _shortened(image)
    pixels = _within_ratios(small)
    pixels, ratio_h, ratio_w = resize_image_within_bounds(pixels, p.MIN_SIDE_LEN, p.MAX_SIDE_LEN)
    ratio_h *= height / small.shape[0]
    ratio_w *= width / small.shape[1]
    record: dict[str, Any] = {"preprocess": {"ratio_h": ratio_h, "ratio_w": ratio_w}}
    pixels, record = apply_vertical_padding(pixels, record, p.WIDTH_HEIGHT_RATIO, p.MIN_HEIGHT)
    # rapidocr's models see blue first.
    return Page(np.ascontiguousarray(pixels[..., ::-1]), record, width, height)


def polygons(page: Page, boxes: Boxes) -> list[Polygon]:
    """Boxes (n, 4, 2) found on a page, in the coordinates of the image that was sent."""
    if not len(boxes):
        return []
    mapped = map_boxes_to_original(boxes.copy(), page.record, page.height, page.width)
    corners = np.rint(mapped).astype(int).tolist()
    return [tuple((x, y) for x, y in box) for box in corners]


def _shortened(pixels: Pixels) -> Pixels:
    """A very long image scaled down to the longest edge there may be.

    It gets a margin next, which is many times larger than the image where that is a
    line of single pixels: 370 bytes of PNG would take gigabytes.
    """
    height, width = pixels.shape[:2]
    extreme = width > p.WIDEST * height or height > p.TALLEST * width
    factor = p.MAX_SIDE_LEN / max(width, height)
    if not extreme or factor >= 1:
        return pixels
    size = max(1, round(width * factor)), max(1, round(height * factor))
    # First by a whole number, which takes no memory: Pillow's resize wants some for
    # every pixel of the longer edge.
    coarse = max(1, max(width, height) // (4 * p.MAX_SIDE_LEN))
    image = Image.fromarray(pixels).reduce((coarse, 1) if width > height else (1, coarse))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def _within_ratios(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    below = max(0, -(-width // p.WIDEST) - height)
    right = max(0, -(-height // p.TALLEST) - width)
    if not below and not right:
        return pixels
    # Margins right and below leave the coordinates as they are.
    padded: Pixels = cv2.copyMakeBorder(
        pixels, 0, below, 0, right, cv2.BORDER_CONSTANT, value=(0, 0, 0)
    )
    return padded
