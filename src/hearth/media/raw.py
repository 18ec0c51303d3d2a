"""Frames without a file around them: ``image/x-raw;format=rgb;width=640;height=480``."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hearth.errors import InvalidInput

MIME = "image/x-raw"

Pixels = NDArray[np.uint8]

_BYTES: Mapping[str, float] = {"rgb": 3, "bgr": 3, "rgba": 4, "gray": 1, "yuv420": 1.5}
"""Bytes for each pixel, by format."""

FORMATS = tuple(_BYTES)


class RawForm(NamedTuple):
    """Layout of a raw frame's bytes: rows from the top, nothing between them.

    ``yuv420`` is planar 4:2:0 (I420): the whole of Y, then U, then V, of BT.601's limited
    range, as cameras and video decoders give it; width and height are even. Y below 16 counts as
    16, and the colour of four pixels isn't smoothed into those of their neighbours.
    """

    format: str
    width: int
    height: int

    @property
    def size(self) -> int:
        """Bytes of a frame."""
        return int(self.width * self.height * _BYTES[self.format])


def is_raw(mime: str) -> bool:
    """Tell whether a mime says that the payload is a raw frame."""
    return mime.partition(";")[0].strip().lower() == MIME


def raw_form(mime: str) -> RawForm:
    """Read the form that a raw frame's mime tells; raises InvalidInput."""
    parameters = {}
    for parameter in mime.lower().split(";")[1:]:
        name, _, value = parameter.partition("=")
        parameters[name.strip()] = value.strip().strip("\"'").strip()
    if (kind := parameters.get("format", "")) not in _BYTES:
        raise InvalidInput(f"{MIME}: format={_shown(kind)}: choose from {', '.join(FORMATS)}")
    form = RawForm(kind, _length(parameters, "width"), _length(parameters, "height"))
    if kind == "yuv420" and (form.width % 2 or form.height % 2):
        raise InvalidInput(f"{MIME}: yuv420 needs an even width and height")
    return form


def _length(parameters: Mapping[str, str], name: str) -> int:
    text = parameters.get(name, "")
    # Seven digits: more than any picture has, and no number that takes long to read.
    if not re.fullmatch(r"[1-9][0-9]{0,6}", text):
        raise InvalidInput(f"{MIME}: {name}={_shown(text)}: a whole number of pixels is needed")
    return int(text)


def _shown(text: str) -> str:
    """Show a client's words on one line that isn't too long."""
    return ascii(text[:40])[1:-1]


def read_raw(payload: bytes, form: RawForm, max_pixels: int) -> Pixels:
    """Read a raw frame as RGB uint8 (height, width, 3), which may be a view of the payload.

    Raises InvalidInput where the bytes are not just one frame of that form.
    """
    if form.width * form.height > max_pixels:
        raise InvalidInput(
            f"the frame has {form.width}×{form.height} pixels; at most {max_pixels:,} are "
            "allowed (the node's max_image_pixels)"
        )
    if len(payload) != form.size:
        raise InvalidInput(
            f"a {form.format} frame of {form.width}×{form.height} has {form.size} bytes, "
            f"not {len(payload)}"
        )
    values = np.frombuffer(payload, np.uint8)
    if form.format == "yuv420":
        return _from_yuv420(values, form)
    if form.format == "gray":
        grey = values.reshape(form.height, form.width, 1)
        return np.repeat(grey, 3, axis=2)
    pixels = values.reshape(form.height, form.width, -1)
    if form.format == "rgb":
        return pixels
    import cv2

    code = cv2.COLOR_BGR2RGB if form.format == "bgr" else cv2.COLOR_RGBA2RGB
    rgb: Pixels = cv2.cvtColor(pixels, code)
    return rgb


def raw_alpha(payload: bytes, form: RawForm) -> Pixels | None:
    """Take the transparency of a frame that ``read_raw`` takes, uint8 (height, width), if any."""
    if form.format != "rgba":
        return None
    alpha = np.frombuffer(payload, np.uint8).reshape(form.height, form.width, 4)[..., 3]
    return None if alpha.min() == 255 else alpha


def _from_yuv420(values: Pixels, form: RawForm) -> Pixels:
    import cv2

    planes = values.reshape(form.height * 3 // 2, form.width)
    rgb: Pixels = cv2.cvtColor(planes, cv2.COLOR_YUV2RGB_I420)
    return rgb
