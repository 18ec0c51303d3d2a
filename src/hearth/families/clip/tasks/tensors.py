"""Pictures that the client has prepared: the contract's tensor fast path, for CLIP's family."""

from typing import Any

import orjson

from hearth.errors import InvalidInput
from hearth.families.clip.model import ClipModel
from hearth.families.clip.tensors import PREPROCESSINGS, PreparedTensor
from hearth.media import ImagePayload
from hearth.tasks.images import image_of, is_tensor
from hearth.tasks.task import Call

SHAPE = "lumen.tensor.shape"
PREPROCESS = "lumen.preprocess.id"

_ONLY = {
    "lumen.tensor.dtype": "fp32",
    "lumen.tensor.layout": "NCHW",
    "lumen.tensor.format": "contiguous",
    "lumen.tensor.byte_order": "little",
    "lumen.preprocess.skip": "true",
}
"""Further keys of a tensor's meta, each with the one value that is taken, also when left out."""


def parse_image_or_tensor(model: ClipModel, call: Call) -> ImagePayload | PreparedTensor:
    """Return an image file, or a tensor as the meta describes it; raises InvalidInput."""
    meta = call.request.meta
    if not is_tensor(meta):
        return image_of(call)
    if model.preprocess_id is None:
        raise InvalidInput(f"{model.model_id} takes image files, no tensors")
    for key, only in _ONLY.items():
        if meta.get(key, only).strip().lower() != only.lower():
            raise InvalidInput(f"{key} = {meta[key]!r}: only {only} is taken")
    if (preprocess_id := meta.get(PREPROCESS, "").strip()) != model.preprocess_id:
        raise InvalidInput(
            f"{PREPROCESS} = {preprocess_id!r}: {model.model_id} is {model.preprocess_id}"
        )
    size = PREPROCESSINGS[model.preprocess_id].size
    if _shape(meta.get(SHAPE, "")) != [1, 3, size, size]:
        raise InvalidInput(f"{SHAPE} = {meta.get(SHAPE, '')!r}: [1,3,{size},{size}] is taken")
    return PreparedTensor(call.request.data, size)


def _shape(text: str) -> Any:
    try:
        return orjson.loads(text)
    except ValueError:
        return None
