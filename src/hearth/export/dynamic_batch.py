"""A graph of one sample as a graph of any number of them.

Many files that are published have a batch of one baked in: in their inputs, and in the
constants that their reshapes were folded into. What such a graph does with a sample is right;
so the rewritten one does it with each: an axis that the batch is on is followed from the
inputs to the outputs, and the constants along the way get that axis free.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hearth.errors import HearthError, ModelUnavailable, one_line
from hearth.export.batch_axis import FIRST, BatchAxis
from hearth.export.graph_proof import prove_dynamic_batch
from hearth.export.graph_step import GraphStep
from hearth.export.rules import names_samples, picks_rows, possible, squeezed
from hearth.export.static import Static
from hearth.graphs.graph_io import copy_weights, load_graph, save_graph

_OLDEST_OPSET = 13
"""Version of the operators before which Softmax, Squeeze and others meant something else."""

_TRIES = 100_000
"""Steps to look at before a graph is given up; one of 3,000 nodes takes as many."""

_MINE = "free_batch/"


def has_fixed_batch(path: Path) -> bool:
    """Tell whether the file's first input takes one sample at a time; raises ModelUnavailable."""
    model = load_graph(path)
    return any(_first_size(value) == 1 for value in _inputs(model)[:1])


def make_batch_dynamic(source: Path, target: Path, samples: NDArray[Any]) -> None:
    """Write ``source``, a graph of one sample, to ``target`` with a free batch axis.

    ``samples`` are at least four of the graph's inputs, (n, …): the proof is that the new
    graph gives for each of them what the old one gives, alone and in a batch. Weights that
    lie in files beside the source are copied. Raises ModelUnavailable, with the reason,
    where the graph can't be rewritten or the proof fails, and OSError; the source stays as
    it is, and what there is at ``target`` mustn't be used then.
    """
    model = load_graph(source)
    _require(model)
    try:
        _free(model)
    except HearthError:
        raise
    except Exception as error:  # a file may hold anything
        raise ModelUnavailable(f"the graph can't be rewritten: {one_line(error)}") from error
    copy_weights(model, source.parent, target.parent)
    save_graph(model, target)
    prove_dynamic_batch(source, target, samples)


def _inputs(model: Any) -> list[Any]:
    """Return the graph's inputs; files of old list their weights among them."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def _first_size(value: Any) -> int:
    dims = value.type.tensor_type.shape.dim
    return int(dims[0].dim_value) if dims else 0


def _require(model: Any) -> None:
    graph = model.graph
    if len(_inputs(model)) != 1:
        raise ModelUnavailable("the graph has more than one input")
    if any(_first_size(value) != 1 for value in (*_inputs(model), *graph.output)):
        raise ModelUnavailable("the graph's batch isn't 1")
    version = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if version < _OLDEST_OPSET:
        raise ModelUnavailable(f"its operators are of version {version}, before {_OLDEST_OPSET}")
    if model.functions:
        raise ModelUnavailable("the graph has functions of its own")


def _free(model: Any) -> None:
    """Rewrite the graph, whose weights may be elsewhere."""
    static = Static(model)
    [taken] = _inputs(model)
    batch_axes = _follow(static, taken.name, [value.name for value in model.graph.output])
    writer = _BatchedGraphWriter(model, taken.name)
    for node in static.nodes:
        step = _step(static, batch_axes, node)
        if any(step.batch_axes):
            writer.rewrite(step, batch_axes[node.output[0]])
        else:
            writer.nodes.append(node)
    writer.finish()
    del model.graph.value_info[:]
    for value in (taken, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


def _step(static: Static, batch_axes: dict[str, BatchAxis], node: Any) -> GraphStep:
    names = list(node.input)
    while names and not names[-1]:
        names.pop()
    return GraphStep(
        node,
        tuple(batch_axes.get(name) for name in names),
        tuple(static.shapes.get(name, ()) for name in names),
        tuple(static.values.get(name) for name in names),
        static.shapes.get(node.output[0], ()),
    )


def _follow(static: Static, taken: str, given: Sequence[str]) -> dict[str, BatchAxis]:
    """Find where the batch is in every tensor that holds it; raises ModelUnavailable.

    Where a reshape leaves a choice, the likeliest is taken; where that leads nowhere, the
    last choice is taken back.
    """
    nodes = static.nodes
    batch_axes = {taken: FIRST}
    choices: list[tuple[int, list[BatchAxis]]] = []
    complaint = ""
    index = 0
    for _ in range(_TRIES):
        if index == len(nodes):
            wrong = [name for name in given if batch_axes.get(name) != FIRST]
            if not wrong:
                return batch_axes
            left, what = [], f"the output {wrong[0]}"
        else:
            node = nodes[index]
            step = _step(static, batch_axes, node)
            if not any(step.batch_axes):
                index += 1
                continue
            left, what = list(possible(step)), f"{node.op_type} {node.name}".rstrip()
        if not left:
            complaint = complaint or what
            if not choices:
                break
            index, left = choices.pop()
            for later in nodes[index:]:
                for name in later.output:
                    batch_axes.pop(name, None)
        chosen, *others = left
        if others:
            choices.append((index, others))
        batch_axes.update(dict.fromkeys(filter(None, nodes[index].output), chosen))
        index += 1
    raise ModelUnavailable(f"the batch can't be followed through {complaint}")


class _BatchedGraphWriter:
    """The new graph, node by node."""

    def __init__(self, model: Any, taken: str) -> None:
        self._graph = model.graph
        self._taken = taken
        self._count = 0
        self.nodes: list[Any] = []
        self._head: list[Any] = []

    def finish(self) -> None:
        """Put the nodes in place of the old ones."""
        del self._graph.node[:]
        self._graph.node.extend([*self._head, *self.nodes])

    def rewrite(self, step: GraphStep, batch: BatchAxis) -> None:
        """Rewrite a node that the batch goes through to ``batch``."""
        from onnx import NodeProto

        node = NodeProto()
        node.CopyFrom(step.node)
        rewrite = {
            "Reshape": self._reshape,
            "Expand": self._expand,
            "Squeeze": self._squeeze,
            "Concat": self._concat,
            "Gather": self._gather,
            "GatherND": self._gather_nd,
        }.get(node.op_type)
        if rewrite is not None:
            rewrite(step, batch, node)
        self.nodes.append(node)

    def _reshape(self, step: GraphStep, batch: BatchAxis, node: Any) -> None:
        sizes = list(step.out)
        sizes[batch.axis] = -1
        node.input[1] = self._constant(sizes)

    def _expand(self, step: GraphStep, batch: BatchAxis, node: Any) -> None:
        sizes = list(step.out)
        sizes[batch.axis] = 1  # leaves the axis as it is
        node.input[1] = self._constant(sizes)

    def _squeeze(self, step: GraphStep, batch: BatchAxis, node: Any) -> None:
        node.input[:] = [node.input[0], self._constant(squeezed(step))]

    def _concat(self, step: GraphStep, batch: BatchAxis, node: Any) -> None:
        for index, own in enumerate(step.batch_axes):
            if own is None:
                rank = len(step.shapes[index])
                node.input[index] = self._repeated(node.input[index], batch.axis, rank)

    def _gather(self, step: GraphStep, batch: BatchAxis, node: Any) -> None:
        if not picks_rows(step) or not all(step.batch_axes):
            return
        rows = self._constant([-1, *step.shapes[0]])
        data = self._made("Reshape", [node.input[0], rows])
        indices = self._made("Unsqueeze", [node.input[1], self._constant([-1])])
        node.op_type = "GatherND"
        node.input[:] = [data, indices]
        self._set_attributes(node, batch_dims=1)

    def _gather_nd(self, step: GraphStep, batch: BatchAxis, node: Any) -> None:
        if not names_samples(step) or not all(step.batch_axes):
            return
        bounds = [self._constant([1]), self._constant([step.shapes[1][1]]), self._constant([1])]
        node.input[1] = self._made("Slice", [node.input[1], *bounds])
        self._set_attributes(node, batch_dims=1)

    def _set_attributes(self, node: Any, **values: Any) -> None:
        from onnx import helper

        del node.attribute[:]
        node.attribute.extend(helper.make_attribute(*item) for item in values.items())

    def _repeated(self, name: str, axis: int, rank: int) -> str:
        """Repeat a tensor as often as there are samples, along an axis of size 1."""
        ones = [self._constant([1] * count) for count in (axis, rank - axis - 1) if count]
        sizes = [*ones[: axis > 0], self._batch(), *ones[axis > 0 :]]
        return self._made("Expand", [name, self._made("Concat", sizes, axis=0)])

    def _batch(self) -> str:
        """Return the number of samples, int64 (1,), computed once."""
        from onnx import helper

        name = f"{_MINE}batch"
        if not self._head:
            shape, bounds = f"{_MINE}shape", [self._constant([0]), self._constant([1])]
            self._head = [
                helper.make_node("Shape", [self._taken], [shape]),
                helper.make_node("Slice", [shape, *bounds], [name]),
            ]
        return name

    def _made(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        from onnx import helper

        self._count += 1
        name = f"{_MINE}{operator}_{self._count}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def _constant(self, numbers: Sequence[int]) -> str:
        from onnx import numpy_helper

        self._count += 1
        name = f"{_MINE}constant_{self._count}"
        array = np.array(numbers, np.int64)
        self._graph.initializer.append(numpy_helper.from_array(array, name))
        return name
