"""From a picture to what the image tower takes.

The same numbers as open_clip's own transform (``image_transform_v2`` with
``is_train=False``, open_clip 3.3), without torch: where that resizes the whole picture
and then throws most of it away, only the part that stays is ever computed, so that a
20000×10 picture costs no more than any other. Pixels differ by rounding at most (1 of 255).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hearth.errors import ModelUnavailable

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
"""Standard deviations of CLIP's training pictures; open_clip's ``constants.py``."""

ResizeMode = Literal["shortest", "squash", "longest"]


@dataclass(frozen=True)
class ImageTransform:
    """Transform that makes pictures tensors; fields as in open_clip's preprocess config.

    ``height`` and ``width`` in pixels. ``resize_mode``: shortest (edge to size, then
    the centre), squash (to size, whatever the shape) or longest (edge to size, the rest
    filled with ``fill_color``).
    """

    height: int = 224
    width: int = 224
    mean: tuple[float, ...] = OPENAI_MEAN
    std: tuple[float, ...] = OPENAI_STD
    interpolation: str = "bicubic"
    resize_mode: ResizeMode = "shortest"
    fill_color: int = 0

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "ImageTransform":
        """Read an open_clip ``preprocess_cfg``; what it doesn't say is CLIP's.

        Raises ModelUnavailable where it says something that can't be done.
        """
        try:
            height, width = _pair(config.get("size", 224))
            transform = cls(
                height,
                width,
                _three(config.get("mean", OPENAI_MEAN)),
                _three(config.get("std", OPENAI_STD)),
                config.get("interpolation") or "bicubic",
                config.get("resize_mode") or "shortest",
                int(config.get("fill_color") or 0),
            )
        except (TypeError, ValueError) as error:
            raise ModelUnavailable(f"the preprocess config is wrong: {error}") from None
        if transform.resize_mode not in ("shortest", "squash", "longest"):
            raise ModelUnavailable(f"unknown resize_mode {transform.resize_mode!r}")
        if not all(transform.std):
            raise ModelUnavailable(f"the preprocess config is wrong: std = {transform.std}")
        if config.get("mode", "RGB") != "RGB":
            raise ModelUnavailable(f"unknown picture mode {config['mode']!r}")
        return transform

    @property
    def at_least(self) -> int:
        """The size in pixels for ``ImageReader.read(at_least=…)``."""
        return max(self.height, self.width)

    @property
    def scale(self) -> tuple[float, ...]:
        """With ``offset``: of each channel, numbers are pixels · scale + offset."""
        return tuple(1 / (255 * std) for std in self.std)

    @property
    def offset(self) -> tuple[float, ...]:
        """Offset of a channel: (x / 255 - mean) / std as one product and one sum."""
        return tuple(-mean / std for mean, std in zip(self.mean, self.std, strict=True))

    def prepare(
        self, image: Image.Image, out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Write the tensor of an RGB picture, float32 (3, height, width), to ``out``."""
        if out is None:
            out = np.empty((3, self.height, self.width), np.float32)
        picture = np.asarray(self.resized(image))
        np.multiply(picture.transpose(2, 0, 1), _by_channel(self.scale), out=out)
        out += _by_channel(self.offset)
        return out

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """Give the pixels before they are normalised: uint8 (height, width, 3)."""
        return np.asarray(self.resized(image))

    def resized(self, image: Image.Image) -> Image.Image:
        """Resize the picture to ``width`` × ``height``."""
        if self.resize_mode == "squash":
            return self._resample(image, (self.width, self.height), None)
        if self.resize_mode == "longest":
            return self._padded(image)
        return self._cropped(image)

    def _cropped(self, image: Image.Image) -> Image.Image:
        """Resize the shortest edge to its size, and cut out the centre of that."""
        whole_width, whole_height = self._covering(image.width, image.height)
        left = round((whole_width - self.width) / 2.0)
        top = round((whole_height - self.height) / 2.0)
        across, down = image.width / whole_width, image.height / whole_height
        box = (
            left * across,
            top * down,
            # Rounding must not lead out of the picture: Pillow would refuse.
            min((left + self.width) * across, image.width),
            min((top + self.height) * down, image.height),
        )
        return self._resample(image, (self.width, self.height), box)

    def _covering(self, width: int, height: int) -> tuple[int, int]:
        """Compute the whole picture's size once it just covers the target."""
        if self.width == self.height:
            # torchvision's Resize with one number: the longer edge is truncated.
            if width <= height:
                return self.width, int(self.width * height / width)
            return int(self.height * width / height), self.height
        # open_clip's ResizeKeepRatio: both edges are rounded.
        ratio = min(height / self.height, width / self.width)
        return round(width / ratio), round(height / ratio)

    def _padded(self, image: Image.Image) -> Image.Image:
        """Resize the longest edge to its size, and put bars around the rest."""
        ratio = max(image.height / self.height, image.width / self.width)
        width = max(1, round(image.width / ratio))
        height = max(1, round(image.height / ratio))
        inner = self._resample(image, (width, height), None)
        if (width, height) == (self.width, self.height):
            return inner
        canvas = Image.new("RGB", (self.width, self.height), (self.fill_color,) * 3)
        canvas.paste(inner, ((self.width - width) // 2, (self.height - height) // 2))
        return canvas

    def _resample(
        self,
        image: Image.Image,
        size: tuple[int, int],
        box: tuple[float, float, float, float] | None,
    ) -> Image.Image:
        # A target that isn't square is always bicubic in open_clip's "shortest".
        keeps_ratio = self.resize_mode == "shortest" and self.width != self.height
        bilinear = self.interpolation == "bilinear" and not keeps_ratio
        method = Image.Resampling.BILINEAR if bilinear else Image.Resampling.BICUBIC
        return image.resize(size, method, box)


def _by_channel(values: tuple[float, ...]) -> NDArray[np.float32]:
    return np.array(values, np.float32)[:, None, None]


def _pair(size: Any) -> tuple[int, int]:
    """Read (height, width) of a config's ``size``: a number or a list of one or two."""
    values = list(size) if isinstance(size, list | tuple) else [size]
    height, width = int(values[0]), int(values[-1])
    if len(values) > 2 or height < 1 or width < 1:
        raise ValueError(f"size = {size!r}")
    return height, width


def _three(values: Any) -> tuple[float, ...]:
    """Read three numbers, one for each channel; one number counts for all."""
    numbers = tuple(float(v) for v in values) if isinstance(values, list | tuple) else ()
    numbers = numbers or (float(values),) * 3
    if len(numbers) != 3:
        raise ValueError(f"{values!r} aren't three numbers")
    return numbers
