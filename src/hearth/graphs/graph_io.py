"""Reading and writing ONNX files whose weights may lie in files beside them."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hearth.errors import BackendUnavailable, ModelUnavailable, how_to_install, one_line


def require_onnx() -> Any:
    """Import the package ``onnx``; raises BackendUnavailable where it isn't installed."""
    try:
        import onnx
    except ImportError as error:
        raise BackendUnavailable(
            f"onnx can't be imported ({one_line(error)}): {how_to_install('server')}"
        ) from None
    return onnx


def load_graph(path: Path) -> Any:
    """Read a file's ModelProto, without the weights in files beside it.

    Raises ModelUnavailable, BackendUnavailable.
    """
    onnx = require_onnx()
    try:
        model = onnx.load_model(path, load_external_data=False)
    except Exception as error:  # protobuf's own, which are no one family
        raise ModelUnavailable(f"{path} can't be read: {one_line(error)}") from error
    if not model.graph.node:
        raise ModelUnavailable(f"{path} holds no graph")
    return model


def save_graph(model: Any, path: Path) -> None:
    """Write a model as it is, with its references to weights in other files; raises OSError."""
    require_onnx().save_model(model, path)


def weight_files(model: Any) -> list[str]:
    """List the names of the files that a graph keeps weights in; raises ModelUnavailable."""
    names = {
        entry.value
        for tensor in _tensors(model)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    for name in names:
        if Path(name).name != name:
            raise ModelUnavailable(f"its weights lie outside its folder: {name}")
    return sorted(names)


def copy_weights(model: Any, source: Path, target: Path) -> None:
    """Copy the files that a graph keeps weights in from folder to folder.

    Raises ModelUnavailable, OSError.
    """
    for name in weight_files(model):
        if not (source / name).is_file():
            raise ModelUnavailable(f"no such file: {source / name}")
        if not (target / name).exists():
            shutil.copyfile(source / name, target / name)


def _tensors(model: Any) -> Iterator[Any]:
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
