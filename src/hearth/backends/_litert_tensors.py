"""The inputs and outputs of a TFLite model, and the floats behind quantised ones.

A quantised tensor holds whole numbers q that stand for scale · (q - zero point): the
formula of TFLite's "8-bit quantization specification". By it, inputs and outputs have one
scale each; one for each channel is for weights alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hearth.backends.session import Array, TensorSpec
from hearth.errors import ModelFailed


class Quantisation(NamedTuple):
    """Scheme by which whole numbers of one dtype stand for floats."""

    dtype: np.dtype[Any]
    scale: float
    zero_point: int

    def quantised(self, floats: Array) -> Array:
        """Return the nearest whole numbers, halves away from zero as TFLite rounds; they saturate.

        Raises ModelFailed where there is a NaN, which no whole number stands for.
        """
        scaled = floats.astype(np.float64) / self.scale
        if np.isnan(scaled).any():
            raise ModelFailed("LiteRT: a quantised input can't take NaN")
        numbers = np.trunc(scaled + np.copysign(0.5, scaled)) + self.zero_point
        bounds = np.iinfo(self.dtype)
        bounded: Array = np.clip(numbers, bounds.min, bounds.max)
        return bounded.astype(self.dtype)

    def floats(self, numbers: Array) -> Array:
        """Return the floats that whole numbers stand for, as float32."""
        return ((numbers.astype(np.float64) - self.zero_point) * self.scale).astype(np.float32)


class InterpreterTensor(NamedTuple):
    """One input or output of an interpreter."""

    handle: int
    """The interpreter's number for it."""
    spec: TensorSpec
    """Spec in the model's file; float32 where it is quantised and floats are wanted."""
    shape: tuple[int, ...]
    """The shape it has before anything is resized."""
    quantisation: Quantisation | None
    """None where the tensor's own numbers are fed and given."""

    def fed(self, array: Array) -> Array:
        """Turn a caller's array into the interpreter's. Raises ModelFailed."""
        numbers = array if self.quantisation is None else self.quantisation.quantised(array)
        return np.ascontiguousarray(numbers)

    def given(self, array: Array) -> Array:
        """Turn an interpreter's array into the caller's."""
        return array if self.quantisation is None else self.quantisation.floats(array)


def describe(details: Sequence[Mapping[str, Any]], *, raw: bool) -> tuple[InterpreterTensor, ...]:
    """Describe the tensors behind ``get_input_details`` or ``get_output_details``.

    With ``raw`` quantised ones keep their whole numbers. A tensor without a name of its own
    is called by its place: ``tensor_0``.
    """
    names = [str(detail["name"]) for detail in details]
    return tuple(
        _tensor(detail, name if name and names.count(name) == 1 else f"tensor_{place}", raw)
        for place, (name, detail) in enumerate(zip(names, details, strict=True))
    )


def _tensor(detail: Mapping[str, Any], name: str, raw: bool) -> InterpreterTensor:
    shape = tuple(int(size) for size in detail["shape"])
    # -1 is a free size; old files have no such signature.
    signature = [int(size) for size in detail["shape_signature"]] or shape
    dtype = np.dtype(detail["dtype"])
    quantisation = None if raw else _quantisation(detail, dtype)
    spec = TensorSpec(
        name,
        tuple(size if size >= 0 else None for size in signature),
        dtype if quantisation is None else np.dtype(np.float32),
    )
    return InterpreterTensor(int(detail["index"]), spec, shape, quantisation)


def _quantisation(detail: Mapping[str, Any], dtype: np.dtype[Any]) -> Quantisation | None:
    """Read how a tensor is quantised; None for floats, and for whole numbers without a scale."""
    parameters = detail["quantization_parameters"]
    if dtype.kind not in "iu" or len(parameters["scales"]) != 1 or not parameters["scales"][0] > 0:
        return None
    return Quantisation(dtype, float(parameters["scales"][0]), int(parameters["zero_points"][0]))


def weight_precision(details: Sequence[Mapping[str, Any]]) -> str:
    """Tell the precision, ``fp32``, ``fp16`` or ``int8``, by the tensors between a model's inputs
    and outputs.

    TFLite computes in fp32 or in quantised whole numbers, so fp16 is only found in weights,
    and int8 with a scale in a quantised model.
    """
    sizes = {"fp16": 0, "int8": 0}
    for detail in details:
        numbers = int(np.prod(detail["shape"]))
        if detail["dtype"] == np.float16:
            sizes["fp16"] += numbers
        elif detail["dtype"] in (np.int8, np.uint8) and len(
            detail["quantization_parameters"]["scales"]
        ):
            sizes["int8"] += numbers
    most = max(sizes, key=lambda name: sizes[name])
    return most if sizes[most] else "fp32"


def check_feeds(feeds: Mapping[str, Array], specs: Sequence[TensorSpec]) -> int:
    """Return how many rows the feeds have; raises ModelFailed where they aren't what is wanted.

    The interpreter would take some of them for what they aren't.
    """
    unknown = feeds.keys() ^ {spec.name for spec in specs}
    if unknown:
        raise ModelFailed(f"LiteRT: the inputs differ in {', '.join(sorted(unknown))}")
    rows: set[int] = set()
    for name, shape, dtype in specs:
        array = feeds[name]
        fits = len(array.shape) == len(shape) and all(
            size and size == (has or size) for size, has in zip(array.shape, shape, strict=True)
        )
        if not fits or array.dtype != dtype:
            raise ModelFailed(
                f"LiteRT: {name} is {array.dtype} {_shown(array.shape)}, "
                f"and the model takes {dtype} {_shown(shape)}"
            )
        rows.update(array.shape[:1] if shape and shape[0] is None else ())
    if len(rows) > 1:
        raise ModelFailed(f"LiteRT: the inputs have {sorted(rows)} rows")
    return rows.pop() if rows else 1


def _shown(shape: Sequence[int | None]) -> str:
    return f"({', '.join('n' if size is None else str(size) for size in shape)})"
