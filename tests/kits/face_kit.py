"""Faces for tests: detectors that see drawn marks, recognisers with random weights.

    detector(path)                       # ONNX: sees the marks of `drawn`, of any size
    recogniser(path)                     # ONNX: 512 numbers of a crop, with random weights
    pack(folder)                         # both, in the hub's layout
    drawn((1200, 900), [Mark(3, 4, 2)])  # a picture with a mark that it sees as a face
    with loaded(folder) as model: ...

A mark is a block that covers one anchor of the coarsest level; its red says that there is a
face, its green how large it is. So where the faces are is known from the drawing alone.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from hearth.backends import Array, Session
from hearth.families.face.files import open_detection, open_recognition
from hearth.families.face.loader import FaceLoader
from hearth.families.face.model import FaceModel
from hearth.families.face.settings import FaceSettings
from hearth.hub.store import HubStore
from hearth.media import ImageReader
from hearth.models.options import QueueOptions

READER = ImageReader(200_000_000)

STRIDE = 32
"""Of the level that sees marks."""

SIZES = 8.0
"""A mark as green as it is red has a face that reaches so many strides each way."""

RED = 240
"""Of a mark: its face is found with a confidence of 0.94, less where its edges are blurred."""

PATTERN = np.array(
    [[-0.316, -0.077], [0.313, -0.080], [0.0, 0.281], [-0.258, 0.649], [0.263, 0.647]]
)
"""Where the five points of a mark's face are from its anchor, in shares of the reach."""


class Mark(NamedTuple):
    """A face, by the anchor it is at and how many strides it reaches each way."""

    column: int
    row: int
    reach: float


class Expected(NamedTuple):
    """Where a mark's face is, in pixels of the picture, not clipped."""

    box: NDArray[np.float64]
    landmarks: NDArray[np.float64]


# --- pictures -------------------------------------------------------------------------------


def shrunk(size: tuple[int, int], side: int = 640) -> tuple[int, int]:
    """Width and height of a picture in the detector's square, by insightface's rule."""
    width, height = size
    if height > width:
        return max(1, side * width // height), side
    return side, max(1, side * height // width)


def drawn(
    size: tuple[int, int], marks: Sequence[Mark], *, side: int = 640, noise: int = 0
) -> Image.Image:
    """A black picture of this width and height with marks; ``noise`` gives its blue a pattern."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    if noise:
        pixels[..., 2] = np.random.default_rng(noise).integers(0, 256, pixels.shape[:2])
    wide, high = shrunk(size, side)
    for column, row, reach in marks:
        across = [round(edge * STRIDE * size[0] / wide) for edge in (column, column + 1)]
        down = [round(edge * STRIDE * size[1] / high) for edge in (row, row + 1)]
        pixels[slice(*down), slice(*across), :2] = (RED, round(RED * reach / SIZES))
    return Image.fromarray(pixels)


def expected(size: tuple[int, int], mark: Mark, side: int = 640) -> Expected:
    """Where the detector should see a mark's face, by SCRFD's definition, in float64."""
    wide, high = shrunk(size, side)
    to_picture = np.array([size[0] / wide, size[1] / high])
    anchor = np.array([mark.column, mark.row], np.float64) * STRIDE
    reach = round(RED * mark.reach / SIZES) / RED * SIZES * STRIDE
    box = np.stack([anchor - reach, anchor + reach]) * to_picture
    return Expected(box, (anchor + PATTERN * reach) * to_picture)


def file(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The picture as a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


# --- graphs ---------------------------------------------------------------------------------


def detector(
    path: Path,
    *,
    batch: int | None = 1,
    side: int | None = None,
    flat: bool = True,
    keypoints: bool = True,
    strides: Sequence[int] = (8, 16, 32),
    shuffled: bool = False,
    with_nan: bool = False,
) -> Path:
    """An SCRFD that sees marks, with two anchors in each place.

    ``batch`` and ``side`` None are free axes; ``flat`` outputs have no batch axis;
    ``with_nan``: a picture with blue in its first pixel gets numbers that aren't finite.
    """
    build = _Builder()
    red, green, blue = (build.channel(index) for index in range(3))
    outputs: dict[str, list[str]] = {"score": [], "box": [], "points": []}
    for stride in strides:
        seen, size = (build.pooled(channel, stride) for channel in (red, green))
        gain = 1.0 if stride == STRIDE else 0.0
        scores = build.op("Mul", seen, build.constant([gain, 0.5 * gain]))
        if with_nan and stride == STRIDE:
            scores = build.op("Add", scores, build.spoilt(blue))
        reach = build.op("Div", size, build.op("Max", seen, build.constant([1e-3])))
        reach = build.op("Mul", reach, build.constant([SIZES * STRIDE / stride]))
        pattern = np.tile(PATTERN.reshape(-1), 2)
        outputs["score"].append(build.laid(scores, 1, flat=flat))
        outputs["box"].append(build.laid(build.op("Tile", reach, build.whole([1, 1, 8])), 4,
                                         flat=flat))  # fmt: skip
        outputs["points"].append(build.laid(build.op("Mul", reach, build.constant(pattern)), 10,
                                            flat=flat))  # fmt: skip
    kinds = ["score", "box", "points"] if keypoints else ["score", "box"]
    names = [name for kind in kinds for name in outputs[kind]]
    if shuffled:
        names = names[::-1]
    size_of = side if side is not None else "?"
    return build.save(path, [batch or "batch", 3, size_of, size_of], names)


def recogniser(
    path: Path,
    *,
    batch: int | None = None,
    seed: int = 0,
    opset: int = 17,
    spoils: float | None = None,
    dim: int = 512,
    baked: bool = False,
) -> Path:
    """A small convolution net with random weights, (n, 3, 112, 112) to (n, ``dim``).

    ``spoils`` is given instead for a crop that is all black: a number, or zero. ``baked``:
    the batch is in a reshape's constant as well.
    """
    rng = np.random.default_rng(seed)
    build = _Builder()
    kernel = build.weights(rng.normal(size=(8, 3, 14, 14)) / 24)
    maps = build.op("Conv", "input.1", kernel, kernel_shape=[14, 14], strides=[14, 14])
    maps = build.op("PRelu", maps, build.weights(np.full((8, 1, 1), 0.25)))
    if baked:
        flat = build.op("Reshape", maps, build.whole([batch or 1, 512]))
    else:
        flat = build.op("Flatten", maps)
    vector = build.op("Gemm", flat, build.weights(rng.normal(size=(512, dim)) / 22),
                      build.weights(rng.normal(size=dim) / 10))  # fmt: skip
    if spoils is not None:
        brightest = build.op("ReduceMax", "input.1", axes=[1, 2, 3], keepdims=1)
        brightest = build.op("Flatten", brightest)
        is_black = build.op("Less", brightest, build.constant([-0.999]))
        vector = build.op("Where", is_black, build.constant([spoils]), vector)
    return build.save(path, [batch or "batch", 3, 112, 112], [vector], opset=opset,
                      shape=[batch or "batch", dim])  # fmt: skip


def pack(folder: Path, **graphs: Any) -> Path:
    """Both graphs in the hub's layout; ``graphs`` has options for ``detection`` and so on."""
    detector(_made(folder / "detection" / "model.onnx"), **graphs.get("detection", {}))
    recogniser(_made(folder / "recognition" / "model.onnx"), **graphs.get("recognition", {}))
    return folder


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


class _Builder:
    """Nodes one after another."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind}{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def weights(self, values: NDArray[Any]) -> str:
        name = f"weights{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def constant(self, values: Sequence[float] | NDArray[Any]) -> str:
        return self.weights(np.asarray(values))

    def whole(self, values: Sequence[int]) -> str:
        name = f"whole{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def channel(self, index: int) -> str:
        """One channel, 0 to 1."""
        bounds = [self.whole([value]) for value in (index, index + 1, 1)]
        raw = self.op("Slice", "input.1", *bounds)
        scaled = self.op("Mul", raw, self.constant([128 / 255]))
        return self.op("Add", scaled, self.constant([127.5 / 255]))

    def pooled(self, channel: str, stride: int) -> str:
        """Its mean about each anchor, (n, anchors, 1)."""
        means = self.op("AveragePool", channel, kernel_shape=[stride] * 2, strides=[stride] * 2)
        return self.op("Reshape", means, self.whole([0, -1, 1]))

    def spoilt(self, channel: str) -> str:
        """NaN for a picture whose first pixel has much of a channel, else 0; (n, 1, 1)."""
        bounds = [self.whole(values) for values in ([0, 0], [1, 1], [2, 3])]
        first = self.op("Reshape", self.op("Slice", channel, *bounds), self.whole([0, 1, 1]))
        has_much = self.op("Greater", first, self.constant([0.9]))
        return self.op("Where", has_much, self.constant([np.nan]), self.constant([0.0]))

    def laid(self, values: str, kind: int, *, flat: bool) -> str:
        """(n, places, 2 · kind) as (n, anchors, kind), or without the n."""
        return self.op("Reshape", values, self.whole([-1, kind] if flat else [0, -1, kind]))

    def save(
        self, path: Path, taken: Sequence[Any], outputs: Sequence[str], *, opset: int = 17,
        shape: Sequence[Any] | None = None,
    ) -> Path:  # fmt: skip
        graph = helper.make_graph(
            self._nodes,
            "graph",
            [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, taken)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in outputs],
            self._constants,
        )
        imports = [helper.make_opsetid("", opset)]
        onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
        return path


# --- models ---------------------------------------------------------------------------------


class Watched:
    """A session with somebody who looks on: what goes in, and what comes out."""

    def __init__(self, session: Session, watch: Callable[[Array, Mapping[str, Array]], None]):
        self._session = session
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        answers = self._session.run(feeds)
        [batch] = feeds.values()
        self._watch(batch, answers)
        return answers


class WatchedLoader(FaceLoader):
    """A pack with somebody who looks on at ``detection``, ``recognition`` or both."""

    def __init__(
        self, folder: Path, *, options: QueueOptions | None = None,
        **watches: Callable[[Array, Mapping[str, Array]], None],
    ) -> None:  # fmt: skip
        self._folder, self._watches = folder, watches
        self._settings = FaceSettings(model=str(folder))
        super().__init__(self._settings, HubStore(folder, offline=True), reader=READER,
                         options=options)  # fmt: skip

    def load(self) -> FaceModel:
        sessions = {
            "detection": open_detection(self._folder / "detection/model.onnx", self._settings),
            "recognition": open_recognition(
                self._folder / "recognition/model.onnx", self._settings
            ),
        }
        for role, watch in self._watches.items():
            sessions[role] = Watched(sessions[role], watch)
        return FaceModel(
            model_id=self._folder.name, reader=READER, options=self._options, **sessions
        )


@contextmanager
def loaded(
    folder: Path,
    options: QueueOptions | None = None,
    **watches: Callable[[Array, Mapping[str, Array]], None],
) -> Iterator[FaceModel]:
    """A pack as a node has it, closed at the end."""
    model = WatchedLoader(folder, options=options, **watches).load()
    try:
        yield model
    finally:
        model.close()
