"""Pictures that clients have prepared themselves: the tensor fast path of the contract."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hearth.errors import InvalidInput
from hearth.families.clip.tower import Tower
from hearth.families.clip.transform import OPENAI_MEAN, OPENAI_STD, ImageTransform


class PreparedTensor(NamedTuple):
    """A picture that a client has prepared: float32 (3, size, size), little-endian."""

    payload: bytes
    size: int


_LARGEST = 1000.0
"""Normalised pictures stay below 3; what is far beyond overflows inside a model."""

_HALF = (0.5, 0.5, 0.5)
_CHANNELS = 3


class Preprocessing(NamedTuple):
    """Preparation of a picture by a client before it sends it, under one id of the contract."""

    service: str
    size: int
    """Height and width in pixels."""
    transform: ImageTransform
    """Transform that models it is meant for apply to pictures themselves; of these, any size."""


_SIGLIP = ImageTransform(mean=_HALF, std=_HALF, resize_mode="squash")
_BIOCLIP = ImageTransform(mean=OPENAI_MEAN, std=OPENAI_STD, resize_mode="shortest")

PREPROCESSINGS: Mapping[str, Preprocessing] = {
    "siglip2_base_patch16_224_image_v1": Preprocessing("siglip", 224, _SIGLIP),
    "siglip2_so400m_patch14_384_image_v1": Preprocessing("siglip", 384, _SIGLIP),
    "bioclip2_224_image_v1": Preprocessing("bioclip", 224, _BIOCLIP),
}
"""The contract's table (protocol.md, "Tensor fast path")."""

_OTHER_SIZES = {384: (378, 384)}
"""Sizes that are taken as well: of patches of 14 only 378 pixels fit into 384. open_clip's model
takes these, and what was sent is resized once more."""


def preprocessing_of(service: str, transform: ImageTransform, prepared: Tower | None) -> str | None:
    """Return the id under which a model of ``service`` takes prepared pictures; None: it takes
    none.

    ``prepared`` is its tower for such, if it has one.
    How a client filters while it resizes is the id's affair (bilinear for SigLIP 2, where
    open_clip is bicubic), so that isn't compared.
    """
    if prepared is None:
        return None
    for name, known in PREPROCESSINGS.items():
        sizes = _OTHER_SIZES.get(known.size, (known.size,))
        if (
            known.service == service
            and transform.height == transform.width in sizes
            and transform.resize_mode == known.transform.resize_mode
            and np.allclose(transform.mean, known.transform.mean, atol=1e-4)
            and np.allclose(transform.std, known.transform.std, atol=1e-4)
        ):
            return name
    return None


def read_tensor(tensor: PreparedTensor, target: Sequence[int]) -> NDArray[np.float32]:
    """Read the picture as float32 (3, height, width), resized where ``target`` is another size.

    Raises InvalidInput for a payload of another length, and for numbers that can't be a picture's.
    """
    payload, size = tensor
    expected = _CHANNELS * size * size * 4
    if len(payload) != expected:
        raise InvalidInput(
            f"the tensor has {len(payload)} bytes; [1,3,{size},{size}] of fp32 has {expected}"
        )
    planes = np.frombuffer(payload, "<f4").reshape(_CHANNELS, size, size)
    planes = planes.astype(np.float32, copy=False)
    if not (np.abs(planes) <= _LARGEST).all():
        raise InvalidInput(f"the tensor holds numbers that aren't finite, or over {_LARGEST:g}")
    height, width = target
    return planes if (height, width) == (size, size) else _resized(planes, height, width)


def _resized(planes: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    bilinear = Image.Resampling.BILINEAR
    images = [Image.fromarray(plane).resize((width, height), bilinear) for plane in planes]
    return np.stack([np.asarray(image) for image in images])
