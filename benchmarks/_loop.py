"""The bare loops that a node is compared with: pictures to vectors in one process, no server.

``own MODEL PICTURES COUNT``     with the node's own preparation and session
``plain MODEL PICTURES COUNT``   with what everybody writes first: Pillow decodes the whole
                                 picture and resizes it, numpy makes floats of it

MODEL is the ONNX file of an image tower, PICTURES ``jpegs`` or ``photographs``. Each line of
input is a batch size and, if wanted, the seconds to rest before each; the answer is what all
pictures took in such batches, as JSON.
"""

import io
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from _models import FOLDER, jpegs, photographs
from hearth.backends.registry import open_session
from hearth.families.clip.transform import OPENAI_MEAN, OPENAI_STD
from hearth.models.rows import BatchBuilder
from hearth.settings import load
from hearth.wiring import loaders_of

SIZE = 224

Prepare = Callable[[bytes], Any]
Run = Callable[[Sequence[Any]], Any]


def clip_model(model: Path) -> Any:
    """Load the node's CLIP around an image tower, loaded as the node loads it."""
    settings = load({"services": "clip", "clip.onnx_image": model, "data_dir": FOLDER},
                    environment={})  # fmt: skip
    [loader] = loaders_of(settings)
    return loader.load()


def own(model: Path) -> tuple[Prepare, Run]:
    """Do it as the node does, without its queue."""
    clip = clip_model(model)
    session = clip._image.session
    name, stacker = session.inputs[0].name, BatchBuilder()

    def run(items: Sequence[Any]) -> Any:
        return session.run({name: stacker.stack(items, len(items)).array})

    return clip.prepare_image, run


def plain(model: Path) -> tuple[Prepare, Run]:
    """Do the preprocessing of CLIP in the obvious way."""
    session = open_session(model)
    mean, std = (np.array(three, np.float32) for three in (OPENAI_MEAN, OPENAI_STD))

    def prepare(payload: bytes) -> Any:
        picture = Image.open(io.BytesIO(payload)).convert("RGB")
        scale = SIZE / min(picture.size)
        picture = picture.resize(
            (round(picture.width * scale), round(picture.height * scale)),
            Image.Resampling.BICUBIC,
        )
        left, top = (picture.width - SIZE) // 2, (picture.height - SIZE) // 2
        picture = picture.crop((left, top, left + SIZE, top + SIZE))
        pixels = (np.asarray(picture, np.float32) / 255 - mean) / std
        return pixels.transpose(2, 0, 1)

    return prepare, lambda items: session.run({session.inputs[0].name: np.stack(items)})


def measure(
    pictures: Sequence[bytes], prepare: Prepare, run: Run, batch: int, rest: float = 0.0
) -> dict[str, float]:
    """Seconds for each picture, wall and CPU, and the median of a batch."""
    batches, cpu = [], time.process_time()
    for start in range(0, len(pictures), batch):
        if rest:
            time.sleep(rest)
        began = time.perf_counter()
        run([prepare(picture) for picture in pictures[start : start + batch]])
        batches.append(time.perf_counter() - began)
    count, cpu = len(pictures), time.process_time() - cpu
    return {"wall": sum(batches) / count, "cpu": cpu / count, "p50": statistics.median(batches)}


def main() -> None:
    """Answer lines until the process is told to end."""
    kind, model, pictures, count = sys.argv[1:]
    prepare, run = {"own": own, "plain": plain}[kind](Path(model))
    payloads = {"jpegs": jpegs, "photographs": photographs}[pictures](int(count))
    measure(payloads[:4], prepare, run, 1)
    for line in sys.stdin:
        batch, *rest = line.split()
        took = measure(payloads, prepare, run, int(batch), *map(float, rest))
        print(json.dumps(took), flush=True)


if __name__ == "__main__":
    main()
