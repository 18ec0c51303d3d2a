"""Session on LiteRT, the engine of TFLite models."""

import re
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from hearth.backends._litert_tensors import (
    InterpreterTensor,
    check_feeds,
    describe,
    weight_precision,
)
from hearth.backends._memory import is_out_of_memory
from hearth.backends.session import Array, BatchSizes, TensorSpec
from hearth.errors import (
    BackendUnavailable,
    ModelFailed,
    ModelUnavailable,
    OutOfMemory,
    how_to_install,
    one_line,
)

_MARK = b"TFL3"
"""Bytes 4 to 8 of every TFLite file: the identifier of its FlatBuffers schema."""

_SAME = 1e-4
"""Largest distance of a row of a batch from the row alone: a share of the output's largest value.
Of MediaPipe 0.10.21's models those that can be batched differ by 0, hand_recrop by 0.03 or more."""

_Shapes = tuple[tuple[int, ...], ...]


class LiteRtSession:
    """A TFLite file on LiteRT's interpreter, on the CPU.

    A quantised input or output takes and gives float32, or its own whole numbers with
    ``raw``. ``threads`` is how many a run may use. ``content`` is the file's, where
    several sessions share it; it is read to the end, so that the file may be replaced while
    the session lives.

    Whether batches can be run is found out by running two rows, together and alone (with
    ``batched`` off, batches aren't tried): many models, all detectors among them, take a
    larger input and mix up the rows. ``batch_sizes`` says what came of it.

    A file that is cut, empty or something else is refused. LiteRT reads no further than its
    structure, though: wrong sizes in a damaged file may end the process, so whoever fetches
    files checks their digests.

    A lock keeps it to one thread at a time. Raises BackendUnavailable where ai_edge_litert
    can't be imported, ModelUnavailable where the file can't be loaded.
    """

    runtime = "litert"
    device = "cpu"
    fallback = ""

    def __init__(
        self,
        path: Path,
        *,
        threads: int = 1,
        raw: bool = False,
        batched: bool = True,
        content: bytes | None = None,
    ) -> None:
        self.threads: int | None = threads
        self.metadata: Mapping[str, str] = {}
        self._open_threads = threads
        self._content: bytes | None = read_model(path) if content is None else content
        self._lock = threading.Lock()
        try:
            interpreter = self._interpreter = _open(self._content, threads)
            ends = interpreter.get_input_details(), interpreter.get_output_details()
            inside = interpreter.get_tensor_details()
        except BackendUnavailable:
            raise
        except Exception as error:
            raise ModelUnavailable(f"{path} can't be loaded: {_told(error)}") from None
        self._inputs, self._outputs = (describe(details, raw=raw) for details in ends)
        self._shapes: _Shapes = tuple(tensor.shape for tensor in self._inputs)
        self._any_rows = False
        known = {tensor.handle for tensor in (*self._inputs, *self._outputs)}
        self.precision = weight_precision([one for one in inside if one["index"] not in known])
        self.provider = _provider(interpreter)
        free = batched and self._runs_batches()
        self.batch_sizes = BatchSizes() if free else BatchSizes(fixed=(_rows(self._inputs),))
        self.inputs = tuple(_spec(tensor, free) for tensor in self._inputs)
        self.outputs = tuple(_spec(tensor, free) for tensor in self._outputs)
        self._any_rows = free and not any(None in spec.shape[1:] for spec in self.inputs)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph once; every output by its name. Raises ModelFailed, OutOfMemory."""
        with self._lock:
            if self._content is None:
                raise ModelFailed("the session is closed")
            check_feeds(feeds, self.inputs)
            arrays = self._run([feeds[spec.name] for spec in self.inputs])
        return dict(zip((spec.name for spec in self.outputs), arrays, strict=True))

    def close(self) -> None:
        """Free the graph; waits for a run to end."""
        with self._lock:
            self._content = self._interpreter = None

    def _run(self, arrays: Sequence[Array]) -> list[Array]:
        try:
            return self._call(arrays)
        except Exception as error:
            reason = str(error) if isinstance(error, ModelFailed) else f"LiteRT: {_told(error)}"
            kind = OutOfMemory if is_out_of_memory(error) else ModelFailed
            # After a failure LiteRT 2.3 may crash at the next call: never use it again.
            self._interpreter = None
        # Out here, where nothing holds the frames that failed any more, nor the interpreter.
        raise kind(reason)

    def _call(self, arrays: Sequence[Array]) -> list[Array]:
        fed = [tensor.fed(array) for tensor, array in zip(self._inputs, arrays, strict=True)]
        interpreter = self._fitted(tuple(array.shape for array in fed))
        for tensor, array in zip(self._inputs, fed, strict=True):
            interpreter.set_tensor(tensor.handle, array)
        interpreter.invoke()
        return [tensor.given(interpreter.get_tensor(tensor.handle)) for tensor in self._outputs]

    def _fitted(self, shapes: _Shapes) -> Any:
        """Return the interpreter with inputs of these shapes."""
        if self._interpreter is None:
            assert self._content is not None  # or it would be closed
            self._interpreter = _open(self._content, self._open_threads)
            self._shapes = tuple(tensor.shape for tensor in self._inputs)
        if shapes != self._shapes:
            try:
                for tensor, shape in zip(self._inputs, shapes, strict=True):
                    self._interpreter.resize_tensor_input(tensor.handle, shape)
                self._interpreter.allocate_tensors()
            except Exception:
                if self._any_rows:
                    # LiteRT doesn't say what is amiss, but any number of rows fits the model.
                    raise MemoryError(f"no room for {shapes[0][0]} rows") from None
                raise
            self._shapes = shapes
        return self._interpreter

    def _runs_batches(self) -> bool:
        """Tell whether each of two rows comes out of a batch as it does alone."""
        if not all(tensor.shape[:1] == (1,) for tensor in (*self._inputs, *self._outputs)):
            return False
        first, second = ([_sample(tensor, row) for tensor in self._inputs] for row in range(2))
        try:
            alone = [self._run(first), self._run(second)]
            together = self._run([np.concatenate(pair) for pair in zip(first, second, strict=True)])
        except ModelFailed:
            return False
        pairs = [np.concatenate(pair) for pair in zip(*alone, strict=True)]
        # Rows that come out alike would prove nothing.
        return all(map(_alike, together, pairs)) and not all(map(_alike, *alone))


def read_model(path: Path) -> bytes:
    """Read a TFLite file; raises ModelUnavailable where it can't be one."""
    if not path.is_file():
        raise ModelUnavailable(f"no such file: {path}")
    try:
        with path.open("rb") as file:
            start = file.read(8)
            if start[4:] != _MARK:
                raise ModelUnavailable(f"{path} is empty" if not start else f"{path} isn't TFLite")
            return start + file.read()
    except OSError as error:
        raise ModelUnavailable(f"{path} can't be read: {one_line(error)}") from None


def _open(content: bytes, threads: int) -> Any:
    interpreter = import_interpreter()(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter


def import_interpreter() -> Any:
    """Import the class ``Interpreter``; raises BackendUnavailable where it can't be imported."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:  # its library may lack something here, too
        raise BackendUnavailable(
            f"ai_edge_litert can't be imported ({error}): {how_to_install('litert')}"
        ) from None
    return Interpreter


def _provider(interpreter: Any) -> str:
    """Name the provider: ``XNNPACK`` where it has taken part of the graph over, else ``CPU``."""
    # There is no public way to ask. Nodes taken over become one, after all the others.
    with suppress(AttributeError):
        wrapper = interpreter._interpreter
        names = {wrapper.NodeName(place) for place in range(wrapper.NumNodes())}
        return "XNNPACK" if "DELEGATE" in names else "CPU"
    return "CPU"


def _rows(inputs: Sequence[InterpreterTensor]) -> int:
    return inputs[0].shape[0] if inputs and inputs[0].shape else 1


def _spec(tensor: InterpreterTensor, free: bool) -> TensorSpec:
    """Give a tensor's spec, with a free number of rows where it can be had."""
    spec = tensor.spec
    return spec._replace(shape=(None, *spec.shape[1:])) if free else spec


def _sample(tensor: InterpreterTensor, row: int) -> Array:
    """Make one of two different inputs for a model of which nothing is known."""
    shape, dtype = tensor.shape, tensor.spec.dtype
    random = np.random.default_rng(0)
    if dtype.kind == "f":
        ramp = np.linspace(0, 1, int(np.prod(shape))).reshape(shape)
        return (ramp if row else random.random(shape)).astype(dtype)
    if dtype == np.uint8:  # pixels, mostly
        return np.full(shape, 128, dtype) if row else random.integers(0, 256, shape, dtype)
    return np.full(shape, row, dtype)  # numbers of something: there may be but few


def _alike(first: Array, second: Array) -> bool:
    """Tell whether the two have one shape and, but for rounding, the same values."""
    if first.shape != second.shape:
        return False
    if first.dtype.kind != "f":
        return np.array_equal(first, second)
    with np.errstate(invalid="ignore"):
        apart = np.abs(first - second).max(initial=0)
    return bool(apart <= _SAME * np.abs(second).max(initial=0))  # False where there is a NaN


def _told(error: Exception) -> str:
    """Put LiteRT's message in one line: it runs sentences together, and points to a guide."""
    said = str(error)
    if found := re.search(r"unresolved custom op: (\w+)", said):
        return f"it needs the operation {found[1]}, which LiteRT doesn't have"
    parted = re.sub(r"(?<=[^\s.])(?=Node number \d)", ". ", said)
    return one_line(ValueError(parted or type(error).__name__))
