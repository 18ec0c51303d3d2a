"""Ten faces of one picture through recognition: as one batch, and one by one.

The recognisers have the layers of those that people use, and random weights: what is
measured is time, and no more than that.
"""

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import _kit as kit
import reference_kit as people
from _models import FOLDER, _made, _save
from hearth.families.face.faces import Landmarks
from hearth.families.face.files import open_detection, open_recognition
from hearth.families.face.model import FaceModel
from hearth.families.face.settings import FaceSettings
from hearth.media import ImageReader, Picture
from hearth.models.options import QueueOptions

FACES = 10


class _Net:
    """Nodes of a convolution net, put one after another."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: dict[str, Any] = {}
        self._random = np.random.default_rng(0)

    def op(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        from onnx import helper

        name = name or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [*inputs], [name], **attributes))
        return name

    def drawn(self, *shape: int) -> str:
        spread = np.sqrt(2 / np.prod(shape[1:]))
        name = f"w{len(self.weights)}"
        self.weights[name] = self._random.normal(0, spread, shape).astype(np.float32)
        return name

    def filled(self, value: float, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = np.full(shape, value, np.float32)
        return name

    def conv(self, source: str, inputs: int, outputs: int, kernel: int, *, stride: int = 1,
             group: int = 1, pad: int | None = None, active: bool = True) -> str:  # fmt: skip
        weights = self.drawn(outputs, inputs // group, kernel, kernel)
        pads = [kernel // 2 if pad is None else pad] * 4
        out = self.op("Conv", source, weights, self.filled(0, outputs), group=group, pads=pads,
                      strides=[stride] * 2)  # fmt: skip
        return self.op("PRelu", out, self.filled(0.25, outputs, 1, 1)) if active else out

    def head(self, source: str, inputs: int) -> None:
        flat = self.op("Flatten", source)
        self.op("MatMul", flat, self.drawn(inputs, 512), name="embedding")

    def save(self, path: Path) -> None:
        _save(path, self.nodes, self.weights, ("pixels", (3, 112, 112)), ("embedding", (512,)))


def _residual(path: Path) -> None:
    """Make a recogniser likeArcFace's ResNet-50 (3, 4, 14 and 3 blocks; 6.3 GFLOP a face), as in
    buffalo_l.
    """
    net = _Net()
    out, channels = net.conv("pixels", 3, 64, 3), 64
    for blocks, wide in ((3, 64), (4, 128), (14, 256), (3, 512)):
        for block in range(blocks):
            stride = 1 if block else 2
            inner = net.conv(out, channels, wide, 3)
            inner = net.conv(inner, wide, wide, 3, stride=stride, active=False)
            if not block:
                out = net.conv(out, channels, wide, 1, stride=stride, active=False)
            out, channels = net.op("Add", inner, out), wide
    net.head(out, 512 * 7 * 7)
    net.save(path)


def _mobile(path: Path) -> None:
    """Make a recogniser likeMobileFaceNet (0.45 GFLOP a face), as in buffalo_s."""
    net = _Net()
    out = net.conv("pixels", 3, 64, 3, stride=2)
    out, channels = net.conv(out, 64, 64, 3, group=64), 64
    # Expansion, channels, repeats, first stride.
    for grow, wide, repeats, first in (
        (2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1),
    ):  # fmt: skip
        for block in range(repeats):
            stride = 1 if block else first
            inner = net.conv(out, channels, grow * wide, 1)
            inner = net.conv(inner, grow * wide, grow * wide, 3, stride=stride, group=grow * wide)
            inner = net.conv(inner, grow * wide, wide, 1, active=False)
            same = stride == 1 and channels == wide
            out, channels = net.op("Add", inner, out) if same else inner, wide
    out = net.conv(out, channels, 512, 1)
    out = net.conv(out, 512, 512, 7, group=512, pad=0, active=False)
    net.head(out, 512)
    net.save(path)


RECOGNISERS: dict[str, Callable[[Path], None]] = {
    "MobileFaceNet": _mobile,
    "ResNet-50": _residual,
}


def crowd() -> tuple[Picture, list[Landmarks]]:
    """Make a raw frame of ten heads, and where their five points are."""
    heads = [people.picture("same_head_twice")] * (FACES // 2)
    pixels = np.concatenate(heads)
    kept = people.answers("face_detection_short").cases["same_head_twice"]["faces"]
    landmarks = []
    for at in range(FACES // 2):
        down = np.array([0, at * heads[0].shape[0]])
        for face in kept:
            right, left, nose, mouth = np.array(face["keypoints"][:4]) + down
            corner = (left - right) * 0.4
            points = np.concatenate([right, left, nose, mouth - corner, mouth + corner])
            landmarks.append(tuple(map(float, points)))
    mime = f"image/x-raw;format=rgb;width={pixels.shape[1]};height={pixels.shape[0]}"
    return Picture(pixels.tobytes(), mime), landmarks


class Ways(NamedTuple):
    """Milliseconds of wall time for all ten faces, and the ratio of the first two."""

    recogniser: str
    one_batch: float
    one_by_one: float
    at_once: float
    ratio: float


async def measure(rounds: int) -> list[Ways]:
    """Measure each recogniser, in turns."""
    import face_kit

    settings = FaceSettings()
    detection = face_kit.detector(FOLDER / "face-detector.onnx")
    picture, landmarks = crowd()
    found = []
    for name, make in RECOGNISERS.items():
        path = _made(f"{name}-random.onnx", make)
        model = FaceModel(
            model_id=name,
            detection=open_detection(detection, settings),
            recognition=open_recognition(path, settings),
            reader=ImageReader(10_000_000),
            options=QueueOptions(max_batch=FACES),
        )
        try:
            await model.warm_up()
            found.append(await _ways(name, model, picture, landmarks, rounds))
        finally:
            model.close()
    return found


async def _ways(
    name: str, model: FaceModel, picture: Picture, landmarks: list[Landmarks], rounds: int
) -> Ways:
    async def together() -> None:
        await model.embed(picture, landmarks)

    async def one_by_one() -> None:
        for one in landmarks:
            await model.embed(picture, [one])

    async def at_once() -> None:
        await asyncio.gather(*(model.embed(picture, [one]) for one in landmarks))

    ways: list[Callable[[], Awaitable[None]]] = [together, one_by_one, at_once]
    times: list[list[float]] = [[] for _ in ways]
    for way in ways:
        await way()
    for _ in range(rounds):
        for way, took in zip(ways, times, strict=True):
            started = kit.now()
            await way()
            took.append(1e3 * (kit.now() - started))
    middles = [statistics.median(took) for took in times]
    return Ways(name, *middles, kit.median_ratio(times[0], times[1]))
