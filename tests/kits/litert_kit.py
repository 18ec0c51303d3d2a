"""Small TFLite models for tests, written with the schema that ai_edge_litert brings.

    write_model(path, [Tensor("x", (1, 3)), Tensor("z", (1, 3))], [Op("NEG", [0], [1])])

The graph's inputs are the tensors that no operation makes, its outputs those that none reads.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema


class Tensor(NamedTuple):
    name: str
    shape: tuple[int, ...]
    """-1 where the size is free."""
    dtype: Any = np.float32
    data: Any = None
    """The values of a constant."""
    scale: float | None = None
    zero_point: int = 0


class Op(NamedTuple):
    name: str
    """As in TFLite's BuiltinOperator."""
    inputs: Sequence[int]
    outputs: Sequence[int]
    options: str | None = None
    """As in TFLite's BuiltinOptions; they have their default values."""


def write_model(path: Path, tensors: Sequence[Tensor], ops: Sequence[Op]) -> Path:
    """Write a TFLite file with one graph."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.operatorCodes = 3, [schema.BufferT()], []
    model.subgraphs = [graph]
    graph.tensors = [_tensor(model, tensor) for tensor in tensors]
    graph.operators = [_operator(model, op) for op in ops]
    made = {place for op in ops for place in op.outputs}
    read = {place for op in ops for place in op.inputs}
    graph.outputs = sorted(made - read)
    graph.inputs = sorted(place for place in read - made - {-1} if tensors[place].data is None)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    return path


def _tensor(model: Any, tensor: Tensor) -> Any:
    made = schema.TensorT()
    made.name, made.buffer = tensor.name.encode(), 0
    made.shape = [abs(size) for size in tensor.shape]
    if min(tensor.shape, default=0) < 0:
        made.shapeSignature = list(tensor.shape)
    made.type = getattr(schema.TensorType, np.dtype(tensor.dtype).name.upper())
    if tensor.data is not None:
        content = np.ascontiguousarray(tensor.data, tensor.dtype).tobytes()
        model.buffers.append(schema.BufferT())
        model.buffers[-1].data = np.frombuffer(content, np.uint8)
        made.buffer = len(model.buffers) - 1
    if tensor.scale is not None:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale = [tensor.scale]
        made.quantization.zeroPoint = [tensor.zero_point]
    return made


def _operator(model: Any, op: Op) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, op.name)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = 1
    model.operatorCodes.append(code)
    made = schema.OperatorT()
    made.opcodeIndex = len(model.operatorCodes) - 1
    made.inputs, made.outputs = list(op.inputs), list(op.outputs)
    if op.options:
        made.builtinOptionsType = getattr(schema.BuiltinOptions, op.options)
        made.builtinOptions = getattr(schema, f"{op.options}T")()
    return made
