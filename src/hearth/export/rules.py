"""Where each operator takes the batch.

A rule gets a step whose inputs partly hold the batch, and tells where its outputs hold it:
the axes that are possible, the likeliest first. None are possible where the operator would
mix samples; then the graph can't be rewritten.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod

import numpy as np

from hearth.export.batch_axis import FIRST, BatchAxis, after_reshape
from hearth.export.graph_step import GraphStep

BatchAxes = Sequence[BatchAxis]


def possible(step: GraphStep) -> BatchAxes:
    """Tell where the outputs may hold the batch, the likeliest first; empty where nowhere."""
    rule = _RULES.get(step.node.op_type) if step.node.domain in ("", "ai.onnx") else None
    return () if rule is None else rule(step)


def _of_data(step: GraphStep) -> BatchAxis | None:
    """Return the first input's batch axis, where no other input holds the batch."""
    return step.batch_axes[0] if not any(step.batch_axes[1:]) else None


def _aligned(step: GraphStep, index: int) -> BatchAxis | None:
    """Return an input's batch axis, counted in the output's axes as broadcasting does."""
    batch = step.batch_axes[index]
    return batch and batch.moved(batch.axis + len(step.out) - len(step.shapes[index]))


def _size(step: GraphStep, index: int, axis: int) -> int:
    """Return an input's size along an axis of the output."""
    axis += len(step.shapes[index]) - len(step.out)
    return step.shapes[index][axis] if axis >= 0 else 1


def _one_of(batch_axes: Iterable[BatchAxis | None]) -> BatchAxis | None:
    """Return the batch that all have in common, of those that there are."""
    found = {batch for batch in batch_axes if batch}
    return found.pop() if len(found) == 1 else None


def _broadcast(step: GraphStep) -> BatchAxes:
    batch = _one_of(_aligned(step, index) for index in range(len(step.batch_axes)))
    if batch is None or step.out[batch.axis] != batch.outer * batch.inner:
        return ()
    for index, own in enumerate(step.batch_axes):
        if own is None and _size(step, index, batch.axis) != 1:
            return ()
    return (batch,)


def _along(step: GraphStep) -> BatchAxes:
    """Follow a node that works along one axis, and on each line by itself."""
    batch = _of_data(step)
    return (batch,) if batch and batch.axis != step.axis(-1) else ()


def _from_axis(step: GraphStep) -> BatchAxes:
    """Follow a node that works on all axes from one on."""
    batch = _of_data(step)
    return (batch,) if batch and batch.axis < step.axis(-1) else ()


def _on_images(step: GraphStep) -> BatchAxes:
    """Follow a node that works on each sample by itself: (n, channels, …)."""
    return (FIRST,) if _of_data(step) == FIRST else ()


def _reduce(step: GraphStep) -> BatchAxes:
    axes = [step.axis(0)] if step.node.op_type in {"ArgMax", "ArgMin"} else step.axes()
    batch = _of_data(step)
    if batch is None or not axes or batch.axis in axes:
        return ()
    return (batch,) if step.attribute("keepdims", 1) else (_without(batch, axes),)


def _without(batch: BatchAxis, axes: Sequence[int]) -> BatchAxis:
    return batch.moved(batch.axis - sum(axis < batch.axis for axis in axes))


def _transpose(step: GraphStep) -> BatchAxes:
    [batch] = step.batch_axes
    order = step.attribute("perm") or range(len(step.out))[::-1]
    return (batch.moved(list(order).index(batch.axis)),) if batch else ()


def _reshape(step: GraphStep) -> BatchAxes:
    batch = _of_data(step)
    return after_reshape(batch, step.shapes[0], step.out) if batch else ()


def _flatten(step: GraphStep) -> BatchAxes:
    [batch] = step.batch_axes
    if batch is None:
        return ()
    shape, at = step.shapes[0], int(step.attribute("axis", 1)) % (len(step.shapes[0]) + 1)
    first, last, axis = (0, at, 0) if batch.axis < at else (at, len(shape), 1)
    outer = prod(shape[first : batch.axis]) * batch.outer
    return (BatchAxis(axis, outer, batch.inner * prod(shape[batch.axis + 1 : last])),)


def _squeeze(step: GraphStep) -> BatchAxes:
    batch = _of_data(step)
    return (_without(batch, squeezed(step)),) if batch and batch.axis not in squeezed(step) else ()


def squeezed(step: GraphStep) -> list[int]:
    """Return the axes that a Squeeze drops: never the batch's, where it names none."""
    axes = step.axes()
    if axes is not None:
        return axes
    batch = step.batch_axes[0]
    return [
        axis
        for axis, size in enumerate(step.shapes[0])
        if size == 1 and (batch is None or axis != batch.axis)
    ]


def _unsqueeze(step: GraphStep) -> BatchAxes:
    batch = _of_data(step)
    given = step.attribute("axes")
    axes = step.numbers(1) if given is None else list(given)
    if batch is None or axes is None:
        return ()
    added = {axis % len(step.out) for axis in axes}
    kept = [axis for axis in range(len(step.out)) if axis not in added]
    return (batch.moved(kept[batch.axis]),)


def _concat(step: GraphStep) -> BatchAxes:
    batch = _one_of(step.batch_axes)
    if batch is None or batch.axis == step.axis(0):
        return ()
    # What is the same for every sample is repeated for each: only along an axis of its own.
    return (batch,) if batch.alone or all(step.batch_axes) else ()


def _split(step: GraphStep) -> BatchAxes:
    batch = _of_data(step)
    return (batch,) if batch and batch.axis != step.axis(0) else ()


def _slice(step: GraphStep) -> BatchAxes:
    batch = _of_data(step)
    starts, ends = step.numbers(1), step.numbers(2)
    if batch is None or starts is None or ends is None:
        return ()
    axes = step.numbers(3) or list(range(len(starts)))
    steps = step.numbers(4) or [1] * len(starts)
    for axis, start, end, stride in zip(axes, starts, ends, steps, strict=True):
        whole = start == 0 and stride == 1 and end >= np.iinfo(np.int32).max
        if axis % len(step.out) == batch.axis and not whole:
            return ()
    return (batch,)


def _gather(step: GraphStep) -> BatchAxes:
    data, indices = step.batch_axes
    axis = step.axis(0)
    if data and indices:
        return (FIRST,) if picks_rows(step) else ()
    if indices:
        return (indices.moved(indices.axis + axis),)
    if data is None or data.axis == axis:
        return ()
    rank = len(step.shapes[1])
    return (data if data.axis < axis else data.moved(data.axis + rank - 1),)


def picks_rows(step: GraphStep) -> bool:
    """Tell whether a Gather takes one row of each sample, out of the rows of all: (n · rows, …)."""
    data, indices = step.batch_axes
    return (
        data is not None
        and (data.axis, data.outer) == (0, 1)
        and (indices, step.shapes[1], step.axis(0)) == (FIRST, (1,), 0)
    )


def _gather_nd(step: GraphStep) -> BatchAxes:
    data, indices = step.batch_axes
    batched = int(step.attribute("batch_dims", 0))
    if indices is None and data and not batched:
        depth = step.shapes[1][-1]
        rest = data.axis - depth
        return () if rest < 0 else (data.moved(rest + len(step.shapes[1]) - 1),)
    both = data == indices == FIRST
    return (FIRST,) if both and (batched or names_samples(step)) else ()


def names_samples(step: GraphStep) -> bool:
    """Tell whether a GatherND's indices, (n, depth), start with the sample's own number.

    Along an axis of one there is no other number than that.
    """
    shape = step.shapes[1]
    return not step.attribute("batch_dims", 0) and len(shape) == 2 and shape[1] > 1


def _gather_elements(step: GraphStep) -> BatchAxes:
    batch = _one_of(step.batch_axes)
    return (batch,) if batch and all(step.batch_axes) and batch.axis != step.axis(0) else ()


def _expand(step: GraphStep) -> BatchAxes:
    batch = None if _of_data(step) is None else _aligned(step, 0)
    return (batch,) if batch and step.out[batch.axis] == batch.outer * batch.inner else ()


def _matmul(step: GraphStep) -> BatchAxes:
    if min(map(len, step.shapes)) < 2:
        return ()
    rank = len(step.out)
    left, right = _aligned(step, 0), _aligned(step, 1)
    if (left and left.axis == rank - 1) or (right and right.axis == rank - 2):
        return ()  # a sum over the samples
    batch = _one_of((left, right))
    if batch is None or (left and right and batch.axis >= rank - 2):
        return ()
    if batch.axis < rank - 2:
        for index, own in enumerate(step.batch_axes):
            if own is None and _size(step, index, batch.axis) != 1:
                return ()
    return (batch,) if step.out[batch.axis] == batch.outer * batch.inner else ()


def _gemm(step: GraphStep) -> BatchAxes:
    batch = _of_data(step)
    if batch is None or batch.axis != int(step.attribute("transA", 0)):
        return ()
    # The third is added to every row alike.
    added = step.shapes[2] if len(step.shapes) > 2 else ()
    return (batch.moved(0),) if len(added) < 2 or added[0] == 1 else ()


def _pad(step: GraphStep) -> BatchAxes:
    batch, pads = _of_data(step), step.numbers(1)
    rank = len(step.out)
    if batch is None or pads is None or len(pads) != 2 * rank:
        return ()
    return (batch,) if pads[batch.axis] == pads[batch.axis + rank] == 0 else ()


_Rule = Callable[[GraphStep], BatchAxes]

_ELEMENTWISE = """
Abs Add And Cast Ceil Celu Clip Cos Div Dropout Elu Equal Erf Exp Floor Gelu Greater
GreaterOrEqual HardSigmoid HardSwish Identity LeakyRelu Less LessOrEqual Log Max Min Mish Mod
Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu Sigmoid Sign Sin Softplus Softsign Sqrt
Sub Sum Swish Tanh Where Xor
"""
_REDUCING = """
ArgMax ArgMin ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin
ReduceProd ReduceSum ReduceSumSquare
"""
_IMAGES = "AveragePool BatchNormalization Conv GlobalAveragePool GlobalMaxPool MaxPool"

_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(_ELEMENTWISE.split(), _broadcast),
    **dict.fromkeys(_REDUCING.split(), _reduce),
    **dict.fromkeys(_IMAGES.split(), _on_images),
    **dict.fromkeys(("Softmax", "LogSoftmax", "LpNormalization"), _along),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), _from_axis),
    "Concat": _concat,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Pad": _pad,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
