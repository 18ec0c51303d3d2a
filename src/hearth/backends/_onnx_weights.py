"""Composition of an ONNX file's weights, read without loading them.

ONNX Runtime doesn't tell, and ``onnx.load`` reads what lies inside a file as well: of 600 MB it
takes 0.5 s and 1.2 GB of memory at every start. The file is one protobuf message; this walks over
its tags and skips every blob, so that a file of gigabytes costs less than a millisecond. Field and
type numbers are those of ``onnx.proto3`` (ONNX 1.23).
"""

import math
import mmap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_ATTRIBUTE, _ATTRIBUTE_TENSOR = 5, 5
_TENSOR_DIMS, _TENSOR_TYPE = 1, 2

_PRECISIONS = {
    1: "fp32",
    2: "int8",  # UINT8
    3: "int8",
    10: "fp16",
    11: "fp64",
    16: "bf16",
    21: "int4",  # UINT4
    22: "int4",
}
"""TensorProto.DataType; integers of 32 and 64 bits are shapes and indices, no weights."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_Data = mmap.mmap


def weight_precision(path: Path) -> str | None:
    """Find what most of the weights are: ``fp32``, ``fp16``, ``int8``, ….

    None where the file holds no weights or isn't ONNX's protobuf. Raises OSError.
    """
    with path.open("rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # an empty file can't be mapped
            return None
    with data:
        try:
            counts = _count(data)
        except (IndexError, ValueError):
            return None
    return counts.most_common(1)[0][0] if counts else None


def _count(data: _Data) -> Counter[str]:
    """Count the numbers of each precision."""
    counts: Counter[str] = Counter()
    for start, end in _tensors(data):
        kind, size = _tensor(data, start, end)
        if kind in _PRECISIONS:
            counts[_PRECISIONS[kind]] += size
    return counts


def _tensors(data: _Data) -> Iterator[tuple[int, int]]:
    """Find where the initialisers and the tensors of Constant nodes are."""
    for graph in _messages(data, (0, len(data)), _MODEL_GRAPH):
        yield from _messages(data, graph, _GRAPH_INITIALIZER)
        for node in _messages(data, graph, _GRAPH_NODE):
            for attribute in _messages(data, node, _NODE_ATTRIBUTE):
                yield from _messages(data, attribute, _ATTRIBUTE_TENSOR)


def _tensor(data: _Data, start: int, end: int) -> tuple[int, int]:
    """Read the data type of a TensorProto and how many numbers it holds."""
    kind, dims = 0, []
    for number, wire, first, last in _fields(data, start, end):
        if number == _TENSOR_TYPE and wire == _VARINT:
            kind, _ = _varint(data, first)
        elif number == _TENSOR_DIMS:
            # Packed into one field or repeated: both are one varint after another.
            at = first
            while at < last:
                dim, at = _varint(data, at)
                dims.append(dim)
    return kind, math.prod(dims)


def _messages(data: _Data, span: tuple[int, int], wanted: int) -> Iterator[tuple[int, int]]:
    for number, wire, first, last in _fields(data, *span):
        if number == wanted and wire == _BYTES:
            yield first, last


def _fields(data: _Data, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield each field's number, wire type, and where its content starts and ends."""
    while start < end:
        tag, start = _varint(data, start)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            _, stop = _varint(data, start)
        elif wire == _BYTES:
            length, start = _varint(data, start)
            stop = start + length
        elif wire in (_FIXED64, _FIXED32):
            stop = start + (8 if wire == _FIXED64 else 4)
        else:
            raise ValueError("not a protobuf message")
        if stop > end or number == 0:
            raise ValueError("not a protobuf message")
        yield number, wire, start, stop
        start = stop


def _varint(data: _Data, at: int) -> tuple[int, int]:
    """Read the number at ``at``, and where the next field starts."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("not a protobuf message")
