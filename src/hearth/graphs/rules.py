"""Where each operator takes the batch.

A rule gets a step whose inputs partly hold the batch, and tells where its outputs hold it:
the spots that are possible, the likeliest first. None are possible where the operator would
mix samples; then the graph can't be freed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hearth.graphs.spot import FIRST, Shape, Spot, after_reshape

Spots = Sequence[Spot]


@dataclass(frozen=True)
class Step:
    """A node, and what is known of it."""

    node: Any
    spots: tuple[Spot | None, ...]
    """Of each input; None: it is the same for every sample."""
    shapes: tuple[Shape, ...]
    """Of each input."""
    values: tuple[NDArray[Any] | None, ...]
    """Of each input, where it is known."""
    out: Shape
    """Of the first output."""

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute's value, or the default."""
        from onnx import helper

        for attribute in self.node.attribute:
            if attribute.name == name:
                return helper.get_attribute_value(attribute)
        return default

    def axis(self, default: int, rank: int | None = None) -> int:
        """The attribute ``axis``, counted from the front."""
        value = int(self.attribute("axis", default))
        return value % (len(self.shapes[0]) if rank is None else rank)

    def numbers(self, index: int) -> list[int] | None:
        """A known input as a list; None where there is no such input, or it isn't known."""
        value = self.values[index] if index < len(self.values) else None
        return None if value is None else [int(number) for number in value.reshape(-1)]

    def axes(self) -> list[int] | None:
        """The attribute or second input ``axes``, counted from the front."""
        given = self.attribute("axes")
        axes = self.numbers(1) if given is None else list(given)
        return None if axes is None else [axis % len(self.shapes[0]) for axis in axes]


def possible(step: Step) -> Spots:
    """Where the outputs may hold the batch, the likeliest first; empty where nowhere."""
    rule = _RULES.get(step.node.op_type) if step.node.domain in ("", "ai.onnx") else None
    return () if rule is None else rule(step)


def _of_data(step: Step) -> Spot | None:
    """The first input's spot, where no other input holds the batch."""
    return step.spots[0] if not any(step.spots[1:]) else None


def _aligned(step: Step, index: int) -> Spot | None:
    """An input's spot, counted in the output's axes as broadcasting does."""
    spot = step.spots[index]
    return spot and spot.moved(spot.axis + len(step.out) - len(step.shapes[index]))


def _size(step: Step, index: int, axis: int) -> int:
    """An input's size along an axis of the output."""
    axis += len(step.shapes[index]) - len(step.out)
    return step.shapes[index][axis] if axis >= 0 else 1


def _one_of(spots: Iterable[Spot | None]) -> Spot | None:
    """The spot that all have in common, of those that there are."""
    found = {spot for spot in spots if spot}
    return found.pop() if len(found) == 1 else None


def _broadcast(step: Step) -> Spots:
    spot = _one_of(_aligned(step, index) for index in range(len(step.spots)))
    if spot is None or step.out[spot.axis] != spot.outer * spot.inner:
        return ()
    for index, own in enumerate(step.spots):
        if own is None and _size(step, index, spot.axis) != 1:
            return ()
    return (spot,)


def _along(step: Step) -> Spots:
    """Works along one axis, and on each line by itself."""
    spot = _of_data(step)
    return (spot,) if spot and spot.axis != step.axis(-1) else ()


def _from_axis(step: Step) -> Spots:
    """Works on all axes from one on."""
    spot = _of_data(step)
    return (spot,) if spot and spot.axis < step.axis(-1) else ()


def _on_images(step: Step) -> Spots:
    """Works on each sample by itself: (n, channels, …)."""
    return (FIRST,) if _of_data(step) == FIRST else ()


def _reduce(step: Step) -> Spots:
    axes = [step.axis(0)] if step.node.op_type in {"ArgMax", "ArgMin"} else step.axes()
    spot = _of_data(step)
    if spot is None or not axes or spot.axis in axes:
        return ()
    return (spot,) if step.attribute("keepdims", 1) else (_without(spot, axes),)


def _without(spot: Spot, axes: Sequence[int]) -> Spot:
    return spot.moved(spot.axis - sum(axis < spot.axis for axis in axes))


def _transpose(step: Step) -> Spots:
    [spot] = step.spots
    order = step.attribute("perm") or range(len(step.out))[::-1]
    return (spot.moved(list(order).index(spot.axis)),) if spot else ()


def _reshape(step: Step) -> Spots:
    spot = _of_data(step)
    return after_reshape(spot, step.shapes[0], step.out) if spot else ()


def _flatten(step: Step) -> Spots:
    [spot] = step.spots
    if spot is None:
        return ()
    shape, at = step.shapes[0], int(step.attribute("axis", 1)) % (len(step.shapes[0]) + 1)
    first, last, axis = (0, at, 0) if spot.axis < at else (at, len(shape), 1)
    outer = prod(shape[first : spot.axis]) * spot.outer
    return (Spot(axis, outer, spot.inner * prod(shape[spot.axis + 1 : last])),)


def _squeeze(step: Step) -> Spots:
    spot = _of_data(step)
    return (_without(spot, squeezed(step)),) if spot and spot.axis not in squeezed(step) else ()


def squeezed(step: Step) -> list[int]:
    """The axes that a Squeeze drops: never the batch's, where it names none."""
    axes = step.axes()
    if axes is not None:
        return axes
    spot = step.spots[0]
    return [
        axis
        for axis, size in enumerate(step.shapes[0])
        if size == 1 and (spot is None or axis != spot.axis)
    ]


def _unsqueeze(step: Step) -> Spots:
    spot = _of_data(step)
    given = step.attribute("axes")
    axes = step.numbers(1) if given is None else list(given)
    if spot is None or axes is None:
        return ()
    added = {axis % len(step.out) for axis in axes}
    kept = [axis for axis in range(len(step.out)) if axis not in added]
    return (spot.moved(kept[spot.axis]),)


def _concat(step: Step) -> Spots:
    spot = _one_of(step.spots)
    if spot is None or spot.axis == step.axis(0):
        return ()
    # What is the same for every sample is repeated for each: only along an axis of its own.
    return (spot,) if spot.alone or all(step.spots) else ()


def _split(step: Step) -> Spots:
    spot = _of_data(step)
    return (spot,) if spot and spot.axis != step.axis(0) else ()


def _slice(step: Step) -> Spots:
    spot = _of_data(step)
    starts, ends = step.numbers(1), step.numbers(2)
    if spot is None or starts is None or ends is None:
        return ()
    axes = step.numbers(3) or list(range(len(starts)))
    steps = step.numbers(4) or [1] * len(starts)
    for axis, start, end, stride in zip(axes, starts, ends, steps, strict=True):
        whole = start == 0 and stride == 1 and end >= np.iinfo(np.int32).max
        if axis % len(step.out) == spot.axis and not whole:
            return ()
    return (spot,)


def _gather(step: Step) -> Spots:
    data, indices = step.spots
    axis = step.axis(0)
    if data and indices:
        return (FIRST,) if picks_rows(step) else ()
    if indices:
        return (indices.moved(indices.axis + axis),)
    if data is None or data.axis == axis:
        return ()
    rank = len(step.shapes[1])
    return (data if data.axis < axis else data.moved(data.axis + rank - 1),)


def picks_rows(step: Step) -> bool:
    """Whether a Gather takes one row of each sample, out of the rows of all: (n · rows, …)."""
    data, indices = step.spots
    return (
        data is not None
        and (data.axis, data.outer) == (0, 1)
        and (indices, step.shapes[1], step.axis(0)) == (FIRST, (1,), 0)
    )


def _gather_nd(step: Step) -> Spots:
    data, indices = step.spots
    batched = int(step.attribute("batch_dims", 0))
    if indices is None and data and not batched:
        depth = step.shapes[1][-1]
        rest = data.axis - depth
        return () if rest < 0 else (data.moved(rest + len(step.shapes[1]) - 1),)
    both = data == indices == FIRST
    return (FIRST,) if both and (batched or names_samples(step)) else ()


def names_samples(step: Step) -> bool:
    """Whether a GatherND's indices, (n, depth), start with the sample's own number.

    Along an axis of one there is no other number than that.
    """
    shape = step.shapes[1]
    return not step.attribute("batch_dims", 0) and len(shape) == 2 and shape[1] > 1


def _gather_elements(step: Step) -> Spots:
    spot = _one_of(step.spots)
    return (spot,) if spot and all(step.spots) and spot.axis != step.axis(0) else ()


def _expand(step: Step) -> Spots:
    spot = None if _of_data(step) is None else _aligned(step, 0)
    return (spot,) if spot and step.out[spot.axis] == spot.outer * spot.inner else ()


def _matmul(step: Step) -> Spots:
    if min(map(len, step.shapes)) < 2:
        return ()
    rank = len(step.out)
    left, right = _aligned(step, 0), _aligned(step, 1)
    if (left and left.axis == rank - 1) or (right and right.axis == rank - 2):
        return ()  # a sum over the samples
    spot = _one_of((left, right))
    if spot is None or (left and right and spot.axis >= rank - 2):
        return ()
    if spot.axis < rank - 2:
        for index, own in enumerate(step.spots):
            if own is None and _size(step, index, spot.axis) != 1:
                return ()
    return (spot,) if step.out[spot.axis] == spot.outer * spot.inner else ()


def _gemm(step: Step) -> Spots:
    spot = _of_data(step)
    if spot is None or spot.axis != int(step.attribute("transA", 0)):
        return ()
    # The third is added to every row alike.
    added = step.shapes[2] if len(step.shapes) > 2 else ()
    return (spot.moved(0),) if len(added) < 2 or added[0] == 1 else ()


def _pad(step: Step) -> Spots:
    spot, pads = _of_data(step), step.numbers(1)
    rank = len(step.out)
    if spot is None or pads is None or len(pads) != 2 * rank:
        return ()
    return (spot,) if pads[spot.axis] == pads[spot.axis + rank] == 0 else ()


_Rule = Callable[[Step], Spots]

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
