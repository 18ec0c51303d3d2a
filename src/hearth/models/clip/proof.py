"""What an export is worth: its vectors beside torch's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hearth.backends import Session
from hearth.errors import HearthError, ModelUnavailable
from hearth.models.clip.files import OnnxFiles
from hearth.models.clip.openclip import OpenClip
from hearth.models.clip.parts import Parts
from hearth.models.clip.tower import unit
from hearth.settings import ClipSettings

_BATCHES = (1, 4)

SAMPLE_TEXTS = (
    "a photo of a cat",
    "",
    "Crème brûlée & “curly quotes” — 😀👩‍👩‍👧",
    "many words " * 60,
)


def compare(folder: Path, model: OpenClip) -> tuple[float, float]:
    """The smallest cosine of images and of texts, over all samples; raises ModelUnavailable.

    The graphs of ``folder`` run as a node runs them, torch with the reference preprocessing.
    """
    try:
        parts = OnnxFiles.in_folder(folder, "export").load(ClipSettings(device="cpu"))
    except HearthError as error:
        raise ModelUnavailable(f"the export can't be loaded: {error}") from error
    try:
        return _compare_images(parts, model), _compare_texts(parts, model)
    finally:
        parts.close()


def _compare_images(parts: Parts, model: OpenClip) -> float:
    random = np.random.default_rng(0)
    # From noise to soft colours, tall and wide.
    coarse = random.integers(0, 256, (4, 24, 24, 3), np.uint8)
    sizes = [(24, 24), (300, 200), (97, 640), (400, 31)]
    pictures = [
        Image.fromarray(picture).resize(size) for picture, size in zip(coarse, sizes, strict=True)
    ]
    pixels = np.stack([parts.transform.pixels(picture) for picture in pictures])
    floats = np.stack([parts.transform.prepare(picture) for picture in pictures])
    return _least_cosine(parts.image, model.module.encode_image, pixels, floats)


def _compare_texts(parts: Parts, model: OpenClip) -> float:
    assert parts.text is not None and parts.tokenizer is not None
    expected = np.asarray(model.tokenizer(SAMPLE_TEXTS))
    tokens = np.asarray(parts.tokenizer(SAMPLE_TEXTS))
    if not np.array_equal(tokens, expected):
        raise ModelUnavailable("the exported tokenizer gives other tokens than open_clip's")
    dtype = parts.text.inputs[0].dtype
    return _least_cosine(parts.text, model.module.encode_text, tokens.astype(dtype), expected)


def _least_cosine(
    session: Session, encode: Callable[..., Any], mine: NDArray[Any], reference: NDArray[Any]
) -> float:
    import torch

    with torch.inference_mode():
        expected = unit(encode(torch.from_numpy(reference)).numpy()).astype(np.float64)
    least = 1.0
    for batch in _BATCHES:
        for start in range(0, len(mine), batch):
            feeds = {session.inputs[0].name: mine[start : start + batch]}
            [vectors] = session.run(feeds).values()
            products = unit(vectors).astype(np.float64) * expected[start : start + batch]
            least = min(least, float(products.sum(axis=1).min()))
    return least
