"""ONNX files as other people write them: a batch of one, weights outside, odd operators."""

import json
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import clip_kit

SIGLIP: dict[str, Any] = {
    "custom_text": True,
    "embed_dim": 24,
    "vision_cfg": {
        "image_size": 160,
        "timm_model_name": "test_vit",
        "timm_model_pretrained": False,
        "timm_pool": "map",
        "timm_proj": "none",
    },
    "text_cfg": {
        **clip_kit.TINY["text_cfg"],
        "context_length": 16,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
    },
}
"""A model of SigLIP's build: timm's ViT with attention pooling, a text tower without a mask."""


def write_graph(module: Any, encode: Callable[[Any], Any], sample: Any, path: Path) -> Path:
    """What ``encode`` does with one sample, exported as it comes: every size is baked in."""
    import torch

    class Encoder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, taken: Any) -> Any:
            return torch.nn.functional.normalize(encode(taken), dim=-1)

    path.parent.mkdir(parents=True, exist_ok=True)
    name = "image" if sample.ndim == 4 else "text"
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                Encoder().eval(), (sample,), str(path), input_names=[name],
                output_names=["embedding"], opset_version=17, dynamo=False,
            )  # fmt: skip
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return path


def write_pixels_graph(module: Any, path: Path) -> None:
    """An image graph as hearth wrote it at first: uint8 pixels, and a free batch axis."""
    import torch

    from hearth.families.clip import openclip
    from hearth.families.clip.transform import ImageTransform

    normalise = openclip.normaliser(ImageTransform(32, 32), "cpu")

    class Encoder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, taken: Any) -> Any:
            return module.encode_image(normalise(taken), normalize=True)

    torch.backends.mha.set_fastpath_enabled(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Encoder().eval(), (torch.zeros(2, 32, 32, 3, dtype=torch.uint8),), str(path),
            input_names=["pixels"], output_names=["embedding"], opset_version=17, dynamo=False,
            dynamic_axes={"pixels": {0: "batch"}, "embedding": {0: "batch"}},
        )  # fmt: skip


def write_published(export: Path, module: Any, folder: Path) -> Path:
    """A folder as immich-app publishes models: graphs of one sample, and no word of ours."""
    import torch

    shutil.copytree(export, folder)
    (folder / "hearth.json").unlink()
    size = module.visual.image_size
    height, width = size if isinstance(size, tuple | list) else (size, size)
    image = torch.zeros(1, 3, height, width)
    text = torch.zeros(1, 77, dtype=torch.int32)
    write_graph(module, module.encode_image, image, folder / "visual" / "model.onnx")
    write_graph(module, module.encode_text, text, folder / "textual" / "model.onnx")
    return folder


def write_nodes(
    path: Path,
    nodes: Sequence[Any],
    shape: Sequence[int],
    constants: Mapping[str, NDArray[Any]],
    *,
    output: Sequence[int | None],
    opset: int = 17,
) -> Path:
    """A graph of these nodes from ``x`` to ``y``, both float32."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.save(model, path)
    return path


def put_weights_outside(path: Path, name: str = "weights.bin") -> None:
    """The same graph with its weights in a file beside it."""
    model = onnx.load(path)
    onnx.save_model(
        model, path, save_as_external_data=True, location=name, size_threshold=256,
        convert_attribute=False,
    )  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def about(folder: Path) -> dict[str, Any]:
    """The folder's ``hearth.json``."""
    content: dict[str, Any] = json.loads((folder / "hearth.json").read_text())
    return content
