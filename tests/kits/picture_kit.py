"""Small pictures whose contents don't matter."""

from io import BytesIO

import numpy as np
from PIL import Image


def picture(width: int = 64, height: int = 48) -> bytes:
    """A black PNG."""
    file = BytesIO()
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()
