"""ONNX files in another precision: weights of 8 bits, or everything in 16."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from hearth.backends.quiet import quietly
from hearth.errors import BackendUnavailable, HearthError, ModelUnavailable, one_line
from hearth.graphs.graph_io import copy_weights, load_graph, require_onnx, weight_files

Precision = Literal["fp16", "int8"]

_LARGE = 1_500_000_000
"""Bytes from which on weights go into a file of their own: a protobuf holds at most 2 GiB."""


def convert(source: Path, target: Path, precision: Precision) -> None:
    """Write a graph of float32 to ``target`` in another precision; inputs and outputs stay.

    ``int8``: the weights of matrix products as 8-bit integers, what they are multiplied with
    quantised as it comes; for CPUs. ``fp16``: all in half precision; for GPUs. Weights of
    more than 1.5 GB go to a file beside ``target``, whose folder also takes, for a while,
    copies of what is read. Raises ModelUnavailable with the reason, BackendUnavailable where
    ``onnx`` isn't installed, OSError.
    """
    require_onnx()
    try:
        with quietly():
            (_to_int8 if precision == "int8" else _to_fp16)(source, target)
    except (HearthError, OSError):
        raise
    except ImportError as error:
        raise BackendUnavailable(f"converting needs more than is here: {error}") from None
    except Exception as error:  # the converters' own, of no one family
        raise ModelUnavailable(f"{source} can't be made {precision}: {one_line(error)}") from error


def _to_int8(source: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # It writes beside the file that it reads, and that may be somebody else's folder.
    with TemporaryDirectory(dir=target.parent, prefix=".reading-") as folder:
        copy = Path(folder, "model.onnx")
        copy_weights(load_graph(source), source.parent, copy.parent)
        shutil.copyfile(source, copy)
        quantize_dynamic(
            copy,
            target,
            op_types_to_quantize=["MatMul"],
            weight_type=QuantType.QInt8,
            use_external_data_format=_size(source) > _LARGE,
        )


def _to_fp16(source: Path, target: Path) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    # The types are inferred without the weights, which may be too many for one protobuf.
    model = onnx.shape_inference.infer_shapes(load_graph(source))
    onnx.load_external_data_for_model(model, str(source.parent))
    half = convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=True)
    large = _size(source) > _LARGE
    location = f"{target.name}.data" if large else None
    onnx.save_model(half, target, save_as_external_data=large, location=location)


def _size(path: Path) -> int:
    """Count the bytes of a graph and its weights."""
    beside = (path.parent / name for name in weight_files(load_graph(path)))
    return path.stat().st_size + sum(file.stat().st_size for file in beside)
