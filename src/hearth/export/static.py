"""Facts about a graph before it runs: shapes, and values that don't depend on its input.

For graphs whose sizes are all fixed. Then even the shape of what the input turns into is a
constant, and everything that is computed from shapes is one too.
"""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hearth.errors import ModelUnavailable, one_line
from hearth.export.batch_axis import Shape

_LARGEST = 1 << 16
"""Numbers in a value that is worth knowing; weights aren't."""

_RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli"}
)


class Static:
    """The shapes and known values of a graph; ``nodes`` are those left to compute.

    ``model`` is changed: what is known becomes an initialiser. Raises ModelUnavailable where
    a size stays unknown.
    """

    def __init__(self, model: Any) -> None:
        self._graph = model.graph
        self._opsets = {entry.domain: entry.version for entry in model.opset_import}
        self._ir = model.ir_version
        self._types: dict[str, Any] = {}
        self.values: dict[str, NDArray[Any]] = {}
        self.shapes: dict[str, Shape] = {}
        self._take_given()
        left = [node for node in self._graph.node if not self._settle(node)]
        self._keep_known(left)
        del self._graph.node[:]
        self._graph.node.extend(left)
        self.nodes: list[Any] = list(self._graph.node)

    def _take_given(self) -> None:
        from onnx import TensorProto, helper, numpy_helper

        for value in self._graph.input:
            self._learn(value.name, value.type)
        for tensor in self._graph.initializer:
            kind = helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
            self._learn(tensor.name, kind)
            outside = tensor.data_location == TensorProto.EXTERNAL
            if not outside and prod(tensor.dims) <= _LARGEST:
                self.values[tensor.name] = numpy_helper.to_array(tensor)

    def _learn(self, name: str, kind: Any) -> None:
        self._types[name] = kind
        dims = kind.tensor_type.shape.dim
        sizes = tuple(dim.dim_value for dim in dims)
        if not kind.tensor_type.HasField("shape") or any(size <= 0 for size in sizes):
            return
        self.shapes[name] = sizes

    def _settle(self, node: Any) -> bool:
        """Learn what a node's outputs are like; whether their values are known now."""
        try:
            for name, kind in self._infer(node).items():
                self._learn(name, kind)
            known = self._value(node)
        except Exception as error:
            raise ModelUnavailable(f"{_told(node)} can't be followed: {one_line(error)}") from error
        if known is None:
            return False
        from onnx import helper

        for name, value in zip(node.output, known, strict=True):
            self.values[name] = value
            self._types[name] = helper.make_tensor_type_proto(
                helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
            )
            self.shapes[name] = value.shape
        return True

    def _infer(self, node: Any) -> Mapping[str, Any]:
        from onnx import defs, helper, numpy_helper, shape_inference

        schema = defs.get_schema(node.op_type, self._opsets[node.domain], node.domain)
        given = [name for name in node.input if name]
        inferred: Mapping[str, Any] = shape_inference.infer_node_outputs(
            schema,
            node,
            {name: self._types[name] for name in given},
            {
                name: numpy_helper.from_array(self.values[name], name)
                for name in given
                if name in self.values
            },
            opset_imports=[helper.make_opsetid(*entry) for entry in self._opsets.items()],
            ir_version=self._ir,
        )
        return inferred

    def _value(self, node: Any) -> list[NDArray[Any]] | None:
        """Return the outputs, where they are small and don't depend on the graph's input."""
        if node.op_type in _RANDOM:
            return None
        if node.op_type == "Shape" and node.input[0] in self.shapes:
            shape = np.array(self.shapes[node.input[0]], np.int64)
            bounds = {attribute.name: attribute.i for attribute in node.attribute}
            return [shape[bounds.get("start", 0) : bounds.get("end", len(shape))]]
        if any(name and name not in self.values for name in node.input):
            return None
        shapes = [self.shapes.get(name) for name in node.output]
        # An empty one (a shape of a scalar) has no shape here, and is as good as small.
        if any(shape is not None and prod(shape) > _LARGEST for shape in shapes):
            return None
        from onnx.reference import ReferenceEvaluator

        feeds = {name: self.values[name] for name in node.input if name}
        results = ReferenceEvaluator(node, opsets=self._opsets).run(None, feeds)
        return [np.asarray(result) for result in results]

    def _keep_known(self, left: list[Any]) -> None:
        from onnx import numpy_helper

        here = {tensor.name for tensor in self._graph.initializer}
        wanted = {name for node in left for name in node.input}
        wanted |= {value.name for value in self._graph.output}
        self._graph.initializer.extend(
            numpy_helper.from_array(self.values[name], name)
            for name in sorted(wanted - here)
            if name in self.values
        )


def _told(node: Any) -> str:
    return f"{node.op_type} {node.name}".rstrip()
