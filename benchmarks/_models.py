"""Models and pictures for the benchmarks, made once and kept in ``data/bench``."""

import io
import itertools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hearth.environment import switch_off_telemetry

switch_off_telemetry()  # also of the processes that a benchmark starts

FOLDER = Path(__file__).parent.parent / "data" / "bench"

MLP_INPUTS, MLP_OUTPUTS = 512, 64

LAYERS = ((44, 7, 4), (84, 3, 2), (168, 3, 2), (336, 3, 2))
"""Layers of ``convolutions``: channels, kernel and stride."""


def vit_b_32() -> Path:
    """ViT-B-32 with random weights as ONNX fp32; made in about a minute the first time."""
    folder = FOLDER / "ViT-B-32-random"
    if not (folder / "visual" / "model.onnx").exists():
        import torch

        from hearth.export.clip_folder import ExportOptions
        from hearth.export.clip_graphs import export_model
        from hearth.families.clip.openclip import import_open_clip

        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as scratch:
            weights = Path(scratch) / "random.pt"
            torch.save(import_open_clip().create_model("ViT-B-32").state_dict(), weights)
            options = ExportOptions(data_dir=FOLDER, checkpoint=weights, target=folder)
            export_model("ViT-B-32:random", options)
    return folder


def vit_image(precision: str) -> Path:
    """Make the image tower of ``vit_b_32`` alone, ``fp32`` or ``int8`` (dynamic, MatMul)."""
    original = vit_b_32() / "visual" / "model.onnx"
    return original if precision == "fp32" else _made("ViT-B-32-int8.onnx", _quantised(original))


def _quantised(original: Path) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(
            original, path, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"]
        )

    return make


def convolutions() -> Path:
    """Make an image tower of 0.8 to 1 ms an image on one core: (n, 3, 224, 224) to (n, 512).

    It gains nothing from batches, like other small nets on a CPU.
    """

    def make(path: Path) -> None:
        from onnx import helper

        random = np.random.default_rng(0)
        nodes, weights, previous, channels = [], {}, "pixels", 3
        for layer, (size, kernel, stride) in enumerate(LAYERS):
            shape = (size, channels, kernel, kernel)
            spread = np.sqrt(2 / (channels * kernel * kernel))
            weights[f"w{layer}"] = random.normal(0, spread, shape).astype(np.float32)
            nodes += [
                helper.make_node("Conv", [previous, f"w{layer}"], [f"c{layer}"],
                                 strides=[stride] * 2, pads=[kernel // 2] * 4),
                helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]),
            ]  # fmt: skip
            previous, channels = f"r{layer}", size
        weights["head"] = random.normal(0, 0.1, (channels, 512)).astype(np.float32)
        nodes += [
            helper.make_node("GlobalAveragePool", [previous], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("MatMul", ["flat", "head"], ["embedding"]),
        ]
        _save(path, nodes, weights, ("pixels", (3, 224, 224)), ("embedding", (512,)))

    return _made("convolutions.onnx", make)


def weights_bound() -> Path:
    """Make a perceptron that reads 120 MB of weights at any batch size: (n, 512) to (n, 64)."""

    def make(path: Path) -> None:
        from onnx import helper

        random = np.random.default_rng(1)
        nodes, weights, previous = [], {}, "features"
        sizes = [MLP_INPUTS, 3072, 3072, 3072, 3072, MLP_OUTPUTS]
        for layer, (rows, columns) in enumerate(itertools.pairwise(sizes)):
            last = layer == len(sizes) - 2
            drawn = random.normal(0, np.sqrt(2 / rows), (rows, columns))
            weights[f"w{layer}"] = drawn.astype(np.float32)
            out = "scores" if last else f"m{layer}"
            nodes.append(helper.make_node("MatMul", [previous, f"w{layer}"], [out]))
            if not last:
                nodes.append(helper.make_node("Relu", [out], [f"r{layer}"]))
            previous = f"r{layer}"
        _save(path, nodes, weights, ("features", (MLP_INPUTS,)), ("scores", (MLP_OUTPUTS,)))

    return _made("weights-bound.onnx", make)


def _save(
    path: Path,
    nodes: Sequence[Any],
    weights: dict[str, np.ndarray],
    source: tuple[str, tuple[int, ...]],
    target: tuple[str, tuple[int, ...]],
) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape])
        for name, shape in (source, target)
    ]
    initial = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, path.stem, ends[:1], ends[1:], initial)
    # Opset 17 is what the export writes; the format's version is one that any runtime reads.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _made(name: str, make: Callable[[Path], None]) -> Path:
    """Return the file of this name, made where it isn't here yet; never half."""
    path = FOLDER / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
            make(Path(scratch, path.name))
            Path(scratch, path.name).rename(path)
    return path


def jpegs(count: int, size: int = 224) -> list[bytes]:
    """Different square JPEGs of about 12 KB at 224 pixels."""
    random = np.random.default_rng(0)
    pictures = []
    for _ in range(count):
        coarse = random.integers(0, 256, (28, 28, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
        target = io.BytesIO()
        picture.save(target, "JPEG", quality=90)
        pictures.append(target.getvalue())
    return pictures


def photographs(count: int) -> list[bytes]:
    """Different JPEGs as a camera of 12 megapixels makes them: smooth, with some noise."""
    return [_made(f"photographs/{n}.jpg", _photograph(n)).read_bytes() for n in range(count)]


def _photograph(seed: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        random = np.random.default_rng(seed)
        coarse = Image.fromarray(random.integers(0, 256, (45, 60, 3), np.uint8))
        smooth = np.asarray(coarse.resize((4000, 3000), Image.Resampling.BICUBIC), np.float32)
        noisy = smooth + random.normal(0, 8, smooth.shape).astype(np.float32)
        picture = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
        picture.save(path, "JPEG", quality=90)

    return make
