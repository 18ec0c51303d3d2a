"""An engine of the tests' own: this file, and the line that registers it, are all there is to it.

It multiplies with numpy. A ``.toy`` file holds a matrix and the shape of what is multiplied.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from hearth.backends import (
    Array,
    Backend,
    BatchSizes,
    Device,
    Placement,
    Session,
    SessionOptions,
    TensorSpec,
)
from hearth.backends._denormals import flush_denormals
from hearth.backends.session import DEFAULTS
from hearth.errors import ModelFailed, ModelUnavailable


class ToyBackend(Backend):
    """Numpy, on the CPU."""

    name = "toy"
    title = "Toy"
    packages = ("numpy",)
    suffixes = (".toy",)

    def version(self) -> str:
        return np.__version__

    def devices(self) -> tuple[Device, ...]:
        return (Device("cpu", "cpu"),)

    def place(self, options: SessionOptions) -> Placement:
        return Placement("cpu", "numpy")

    def open(self, path: Path, options: SessionOptions = DEFAULTS) -> Session:
        try:
            with np.load(path) as content:
                return ToySession(content["weights"], content["shape"], content["like"].dtype)
        except (OSError, ValueError, KeyError) as error:
            raise ModelUnavailable(f"{path} can't be loaded: {error}") from error


class ToySession:
    """y = x @ weights, with each x made flat; and z = -x."""

    runtime, device, precision, provider = "toy", "cpu", "fp32", "numpy"
    fallback = ""
    threads: int | None = None
    batch_sizes = BatchSizes()
    metadata: Mapping[str, str] = {"author": "hearth"}

    def __init__(self, weights: Array, shape: Array, dtype: np.dtype) -> None:
        self._weights: Array | None = weights
        shape = tuple(map(int, shape))
        single = np.dtype(np.float32)
        self.inputs = (TensorSpec("x", (None, *shape), dtype),)
        self.outputs = (
            TensorSpec("y", (None, weights.shape[1]), single),
            TensorSpec("z", (None, *shape), single),
        )

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if self._weights is None:
            raise ModelFailed("the session is closed")
        [wanted] = self.inputs
        x = feeds.get("x")
        if (
            x is None
            or len(feeds) > 1
            or (x.shape[1:], x.dtype) != (wanted.shape[1:], wanted.dtype)
        ):
            raise ModelFailed(f"toy: the model takes one x, {wanted.dtype} {wanted.shape}")
        with flush_denormals():
            flat = x.reshape(len(x), -1).astype(np.float32)
            # No BLAS, whose threads have modes of their own.
            y = np.einsum("ni,io->no", flat, self._weights)
            return {"y": y, "z": -x.astype(np.float32)}

    def close(self) -> None:
        self._weights = None


def write_toy(
    path: Path, weights: Array, shape: tuple[int, ...], dtype: DTypeLike = np.float32
) -> Path:
    """A ``.toy`` file, for items of this shape and dtype."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez(file, weights=weights, shape=np.array(shape), like=np.zeros(0, dtype))
    return path
