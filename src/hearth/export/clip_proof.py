"""Proof of an export: its vectors beside torch's, or another precision's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hearth.backends import Session
from hearth.errors import HearthError, ModelUnavailable
from hearth.export.graph_proof import BATCHES, least_cosine
from hearth.families.clip.files import GraphFiles
from hearth.families.clip.openclip import OpenClip
from hearth.families.clip.parts import Parts
from hearth.families.clip.settings import ClipSettings

SAMPLE_TEXTS = (
    "a photo of a cat",
    "",
    "Crème brûlée & “curly quotes” — 😀👩‍👩‍👧",
    "many words " * 60,
)


def compare(folder: Path, model: OpenClip) -> tuple[float, float]:
    """Find the smallest cosine of images and of texts, over all samples; raises ModelUnavailable.

    The graphs of ``folder`` run as a node runs them, torch with the reference preprocessing.
    """
    with _loaded(folder) as parts:
        return _compare_images(parts, model), _compare_texts(parts, model)


def compare_folders(folder: Path, original: Path) -> tuple[float, float]:
    """Compare one folder of ONNX files with another, as ``compare``; raises ModelUnavailable."""
    with _loaded(original) as parts:
        pixels, tokens = _pixels(parts), _tokens(parts)
        expected = [_alone(parts.image, pixels), _alone(_text(parts), tokens)]
    with _loaded(folder) as parts:
        image = _least(parts.image, pixels, expected[0])
        return image, _least(_text(parts), tokens, expected[1])


def sample_inputs(folder: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Make inputs to try both graphs of a folder with: images (4, …) and tokens (4, context).

    As the graphs themselves take them. Raises ModelUnavailable.
    """
    with _loaded(folder) as parts:
        if parts.floats is None:
            return _pixels(parts), _tokens(parts)
        floats = np.stack([parts.transform.prepare(picture) for picture in _pictures()])
        return floats, _tokens(parts)


@contextmanager
def _loaded(folder: Path) -> Iterator[Parts]:
    try:
        parts = GraphFiles.in_folder(folder, "export").load(ClipSettings(device="cpu"))
    except HearthError as error:
        raise ModelUnavailable(f"{folder} can't be loaded: {error}") from error
    try:
        yield parts
    finally:
        parts.close()


def _compare_images(parts: Parts, model: OpenClip) -> float:
    floats = np.stack([parts.transform.prepare(picture) for picture in _pictures()])
    return _beside_torch(parts.image, model.module.encode_image, _pixels(parts), floats)


def _compare_texts(parts: Parts, model: OpenClip) -> float:
    expected = np.asarray(model.tokenizer(SAMPLE_TEXTS))
    tokens = _tokens(parts)
    if not np.array_equal(tokens, expected):
        raise ModelUnavailable("the exported tokenizer gives other tokens than open_clip's")
    return _beside_torch(_text(parts), model.module.encode_text, tokens, expected)


def _beside_torch(
    session: Session, encode: Callable[..., Any], mine: NDArray[Any], reference: NDArray[Any]
) -> float:
    import torch

    with torch.inference_mode():
        expected = encode(torch.from_numpy(reference)).numpy()
    return _least(session, mine, expected)


def _least(session: Session, samples: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the smallest cosine at any size of batch that the session takes."""
    return min(least_cosine(_run(session, samples, n), expected) for n in _batches(session))


def _alone(session: Session, samples: NDArray[Any]) -> NDArray[Any]:
    return _run(session, samples, min(_batches(session)))


def _batches(session: Session) -> list[int]:
    fixed = session.batch_sizes.fixed
    sizes = [size for size in BATCHES if not fixed or size in fixed]
    if not sizes:
        raise ModelUnavailable(f"the graph takes batches of {fixed[0]} only")
    return sizes


def _run(session: Session, samples: NDArray[Any], batch: int) -> NDArray[Any]:
    [taken] = session.inputs
    runs = [
        session.run({taken.name: samples[start : start + batch].astype(taken.dtype, copy=False)})
        for start in range(0, len(samples), batch)
    ]
    return np.concatenate([next(iter(outputs.values())) for outputs in runs])


def _pictures() -> list[Image.Image]:
    """Make pictures from noise to soft colours, tall and wide."""
    coarse = np.random.default_rng(0).integers(0, 256, (4, 24, 24, 3), np.uint8)
    sizes = [(24, 24), (300, 200), (97, 640), (400, 31)]
    return [
        Image.fromarray(picture).resize(size) for picture, size in zip(coarse, sizes, strict=True)
    ]


def _pixels(parts: Parts) -> NDArray[np.uint8]:
    return np.stack([parts.transform.pixels(picture) for picture in _pictures()])


def _tokens(parts: Parts) -> NDArray[np.int64]:
    assert parts.tokenizer is not None
    return np.asarray(parts.tokenizer(SAMPLE_TEXTS))


def _text(parts: Parts) -> Session:
    assert parts.text is not None
    return parts.text
