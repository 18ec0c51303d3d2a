"""A graph whose large products are computed in 8 bits, and everything between in float32.

A convolution of one pixel is a matrix product over channels. CPUs multiply 8-bit integers up to
four times as fast as float32, and a product's inputs can be quantised as they come: weights by
columns when the graph is written, activations by their range in each run. Nothing is calibrated.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hearth.graphs.graph_io import require_onnx, weight_files

_DOMAIN = "com.microsoft"
"""Domain of DynamicQuantizeMatMul, which ONNX Runtime alone has."""

_LEAST = 16
"""Rows and columns that weights have at least to be worth it."""

_CHANNELS_LAST, _CHANNELS_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)

_Weights = NDArray[np.float32]


def with_int8_products(graph: bytes) -> bytes | None:
    """Rewrite a serialised graph: products with constant weights are computed in 8 bits.

    These are matrix products and convolutions of 1 x 1 pixels; a bias that is added to them is
    added in the same step. Inputs, outputs and metadata stay. A run's numbers depend on all that is
    in its batch, for that is quantised together. None where there is nothing to rewrite, or weights
    lie in other files. Raises BackendUnavailable.
    """
    model = require_onnx().load_model_from_string(graph)
    if weight_files(model):
        return None
    writer = _ProductsWriter(model)
    writer.rewrite()
    return bytes(model.SerializeToString()) if writer.count else None


class _ProductsWriter:
    """Rewrites a graph in place, node by node."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._graph = model.graph
        self._constants = _constants_of(model.graph)
        self._uses = Counter(name for node in model.graph.node for name in node.input)
        self._uses.update(value.name for value in model.graph.output)
        self._added_to = {
            name: node for node in model.graph.node if node.op_type == "Add" for name in node.input
        }
        self.count = 0

    def rewrite(self) -> None:
        """Put 8-bit products in place of those of float32."""
        nodes: list[Any] = []
        done: set[str] = set()
        for node in self._graph.node:
            weights = self._weights_of(node)
            if weights is not None:
                bias, last = self._bias_of(node, weights.shape[1])
                nodes += self._product(node, weights, bias, last.output[0])
                done.add(last.output[0])
            elif node.output[0] not in done:
                nodes.append(node)
        del self._graph.node[:], self._graph.value_info[:]
        self._graph.node.extend(nodes)
        used = {name for node in self._graph.node for name in node.input}
        left = [tensor for tensor in self._graph.initializer if tensor.name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(left)
        if all(entry.domain != _DOMAIN for entry in self._model.opset_import):
            self._model.opset_import.add(domain=_DOMAIN, version=1)

    def _weights_of(self, node: Any) -> _Weights | None:
        """Take a product's weights, float32 (inputs, outputs); None: it is no such product."""
        weights = self._constants.get(node.input[1]) if len(node.input) > 1 else None
        if weights is None or weights.dtype != np.float32:
            return None
        if node.op_type == "Conv" and weights.ndim == 4 and _is_pointwise(node, weights):
            weights = weights[:, :, 0, 0].T
        elif node.op_type != "MatMul" or weights.ndim != 2:
            return None
        return weights if min(weights.shape) >= _LEAST and np.isfinite(weights).all() else None

    def _bias_of(self, node: Any, outputs: int) -> tuple[_Weights | None, Any]:
        """Find what is added to each output, float32 (outputs,), and the node that adds it."""
        if node.op_type == "Conv" and len(node.input) > 2:
            return self._constants.get(node.input[2]), node
        product = node.output[0]
        adding = self._added_to.get(product)
        if adding is None or self._uses[product] > 1:
            return None, node
        [name] = [name for name in adding.input if name != product]
        bias = self._constants.get(name)
        shape = (outputs, 1, 1) if node.op_type == "Conv" else (outputs,)
        if bias is None or bias.shape[-len(shape) :] != shape or bias.size != outputs:
            return None, node
        return bias.reshape(-1), adding

    def _product(
        self, node: Any, weights: _Weights, bias: _Weights | None, output: str
    ) -> list[Any]:
        """Write the product of a node's input and weights, with its bias, to ``output``."""
        from onnx import helper

        prefix = f"int8_{self.count}_"
        self.count += 1
        scales = np.maximum(np.abs(weights).max(axis=0), np.finfo(np.float32).tiny) / 127
        tensors = {
            "weights": np.rint(weights / scales).astype(np.int8),
            "scales": scales.astype(np.float32),
            "zeros": np.zeros(weights.shape[1], np.int8),
        }
        if bias is not None:
            tensors["bias"] = bias
        names = [self._constant(prefix + name, array) for name, array in tensors.items()]
        product = "DynamicQuantizeMatMul"
        if node.op_type == "MatMul":
            return [helper.make_node(product, [node.input[0], *names], [output], domain=_DOMAIN)]
        taken, given = prefix + "in", prefix + "out"
        return [
            helper.make_node("Transpose", [node.input[0]], [taken], perm=_CHANNELS_LAST),
            helper.make_node(product, [taken, *names], [given], domain=_DOMAIN),
            helper.make_node("Transpose", [given], [output], perm=_CHANNELS_FIRST),
        ]

    def _constant(self, name: str, array: NDArray[Any]) -> str:
        from onnx import numpy_helper

        self._graph.initializer.append(numpy_helper.from_array(array, name))
        return name


def _constants_of(graph: Any) -> Mapping[str, NDArray[Any]]:
    """Take what doesn't change from run to run, by name."""
    from onnx import numpy_helper

    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return constants


def _is_pointwise(node: Any, weights: _Weights) -> bool:
    """Tell whether a convolution sees one pixel at a time, and all channels of it."""
    from onnx import helper

    attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    return (
        weights.shape[2:] == (1, 1)
        and attributes.get("group", 1) == 1
        and set(attributes.get("strides", (1,))) == {1}
        and not any(attributes.get("pads", ()))
    )
