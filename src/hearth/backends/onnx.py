"""Sessions on ONNX Runtime."""

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hearth.backends._denormals import flush_denormals
from hearth.backends._memory import is_out_of_memory
from hearth.backends._onnx_weights import weight_precision
from hearth.backends.session import Array, BatchSizes, TensorSpec
from hearth.errors import (
    BackendUnavailable,
    HearthError,
    ModelFailed,
    ModelUnavailable,
    OutOfMemory,
    how_to_install,
    one_line,
)

log = logging.getLogger(__name__)

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
_MPS = "CoreMLExecutionProvider"

_AUTO = (CUDA, "MIGraphXExecutionProvider", "ROCMExecutionProvider")
"""What ``auto`` takes, first choice first. CoreML isn't among them: it computes in half
precision, and that is for the user to choose."""

_DEVICES = {CPU: "cpu", CUDA: "cuda", _MPS: "mps", "TensorrtExecutionProvider": "cuda"}

_DTYPES: Mapping[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
} | {
    f"tensor({sign}int{bits})": np.dtype(f"{sign}int{bits}")
    for sign in ("", "u")
    for bits in (8, 16, 32, 64)
}


class OnnxSession:
    """An ONNX file on ONNX Runtime.

    ``device`` is auto, cpu, cuda, cuda:N or mps (CoreML); ``providers`` names ONNX
    Runtime's execution providers instead, first choice first, with or without their
    ending. ``threads`` is how many a run may use (None: one a core). ``arena`` off
    gives memory back after every run, for a little speed. ``graph`` is what to open in the
    file's place, where it was rewritten in memory. Raises BackendUnavailable
    where onnxruntime or a provider can't be had, or, with ``require_device``, where
    anything but the device ``cpu`` was asked for and the CPU is what ONNX Runtime took;
    ModelUnavailable where the file can't be loaded.
    """

    runtime = "onnxrt"

    def __init__(
        self,
        path: Path,
        *,
        device: str = "auto",
        providers: Sequence[str] | None = None,
        require_device: bool = False,
        threads: int | None = None,
        arena: bool = True,
        graph: bytes | None = None,
    ) -> None:
        ort = import_onnxruntime()
        self.threads = threads
        if not path.is_file():
            raise ModelUnavailable(f"no such file: {path}")
        weights = weight_precision(path)
        wanted = _wanted(device, providers, ort.get_available_providers(), require_device)
        options = _options(ort, weights, threads, arena)
        opened = partial(ort.InferenceSession, graph or path, options)
        with flush_denormals():  # also leaves the thread as it was, which ONNX Runtime does not
            self._session = _open(opened, path, wanted, require_device)
        # A provider that fails later must be an error, not a quiet move to the CPU.
        self._session.disable_fallback()
        self.provider: str = self._session.get_providers()[0]
        if require_device and self.provider == CPU and wanted[0][0] != CPU:
            raise BackendUnavailable(
                f"{path.name} asks for {wanted[0][0]}, but ONNX Runtime took {CPU}"
            )
        self.device = _device_name(self.provider, wanted)
        self.inputs = tuple(_spec(node) for node in self._session.get_inputs())
        self.outputs = tuple(_spec(node) for node in self._session.get_outputs())
        self.precision = weights or _precision_of(self.inputs)
        self.batch_sizes = _batch_sizes(self.inputs)
        self.metadata: Mapping[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph once; every output by its name. Raises ModelFailed, OutOfMemory."""
        with failures(), flush_denormals():
            arrays = self.engine.run(None, dict(feeds))
        return self.named(arrays)

    @property
    def engine(self) -> Any:
        """The ``InferenceSession``. Raises ModelFailed once it is closed."""
        if self._session is None:
            raise ModelFailed("the session is closed")
        return self._session

    def named(self, arrays: Sequence[Array]) -> dict[str, Array]:
        """What the engine returned, by the outputs' names."""
        return dict(zip((spec.name for spec in self.outputs), arrays, strict=True))

    def close(self) -> None:
        """Free the graph."""
        self._session = None


@contextmanager
def failures() -> Iterator[None]:
    """Turn what ONNX Runtime raises in a run into ModelFailed or OutOfMemory."""
    try:
        yield
    except HearthError:
        raise
    except Exception as error:
        kind = OutOfMemory if is_out_of_memory(error) else ModelFailed
        raise kind(f"ONNX Runtime: {_told(error)}") from error


def available_providers() -> tuple[str, ...]:
    """The execution providers of the installed ONNX Runtime, best first."""
    return tuple(import_onnxruntime().get_available_providers())


def first_provider(device: str, providers: Sequence[str] | None) -> str:
    """The execution provider that a session so made asks for; nothing is loaded to find out.

    Raises BackendUnavailable where there is no such device or provider.
    """
    available = available_providers()
    if providers:
        return _provider(providers[0], available)
    name, _ = _for_device(device, available)
    return name if name in available else CPU


def import_onnxruntime() -> Any:
    """The module ``onnxruntime``; raises BackendUnavailable where it can't be imported."""
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendUnavailable(
            f"onnxruntime can't be imported ({error}): {how_to_install('server')}"
        ) from None
    return onnxruntime


_Wanted = list[tuple[str, dict[str, str]]]


def _wanted(
    device: str, providers: Sequence[str] | None, available: Sequence[str], required: bool
) -> _Wanted:
    """The providers to ask for, with their options; the CPU is always the last."""
    if providers:
        names = [_provider(name, available) for name in providers]
        options: dict[str, str] = {}
    else:
        name, options = _for_device(device, available)
        if required and device == "auto" and name == CPU:
            raise BackendUnavailable(
                f"no accelerator that ONNX Runtime can use; here are {', '.join(available)}"
            )
        if name not in available:
            complaint = f"device {device} needs {name}; here are {', '.join(available)}"
            if required:
                raise BackendUnavailable(complaint)
            log.warning("%s: using the CPU", complaint)
            name = CPU
        names = [name]
    wanted = [(name, options if name == CUDA else {}) for name in names]
    return wanted if CPU in names else [*wanted, (CPU, {})]


def _provider(name: str, available: Sequence[str]) -> str:
    """The full name of a provider, however it is spelt; raises BackendUnavailable."""
    short = name.lower().removesuffix("executionprovider")
    for candidate in available:
        if candidate.lower().removesuffix("executionprovider") == short:
            return candidate
    raise BackendUnavailable(f"no provider {name!r} here: choose from {', '.join(available)}")


def _for_device(device: str, available: Sequence[str]) -> tuple[str, dict[str, str]]:
    if device == "auto":
        return next((name for name in _AUTO if name in available), CPU), {}
    if device == "cpu":
        return CPU, {}
    if device == "mps":
        return _MPS, {}
    if match := re.fullmatch(r"cuda(?::(\d+))?", device):
        return CUDA, {"device_id": match[1] or "0"}
    raise BackendUnavailable(f"no device {device!r}: choose auto, cpu, cuda, cuda:N or mps")


def _options(ort: Any, weights: str | None, threads: int | None, arena: bool) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors; what matters of the rest is said by us
    options.enable_cpu_mem_arena = arena
    options.intra_op_num_threads = threads or _confinement()
    # Two sessions share the cores: one that spins while it waits starves the other.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.set_denormal_as_zero", "1")  # in its own threads
    if weights == "fp16":
        # ENABLE_ALL crashes the process with such a model on a CPU (measured with 1.31);
        # a GPU may fall back to one, and the level below has all the fusions.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_LAYOUT
    return options


def _confinement() -> int:
    """How many cores this process is confined to (taskset, a cpuset); 0 where it may use all.

    ONNX Runtime's own choice, a thread for each physical core of the machine, overlooks
    such bounds, and even pins threads to cores outside them.
    """
    if not hasattr(os, "sched_getaffinity"):  # macOS and Windows have no such bounds
        return 0
    usable = len(os.sched_getaffinity(0))
    return usable if usable < (os.cpu_count() or 1) else 0


def _open(engine: Callable[..., Any], path: Path, wanted: _Wanted, required: bool) -> Any:
    def open_with(providers: _Wanted) -> Any:
        return engine(providers=providers, enable_fallback=0)

    try:
        return open_with(wanted)
    except Exception as error:
        failure = _told(error)
    if wanted[0][0] != CPU:
        if required:
            raise BackendUnavailable(f"{path.name} can't run on {wanted[0][0]}: {failure}")
        log.warning("%s can't run on %s (%s): using the CPU", path.name, wanted[0][0], failure)
        try:
            return open_with([(CPU, {})])
        except Exception as error:
            failure = _told(error)
    raise ModelUnavailable(f"{path} can't be loaded: {failure}")


def _device_name(provider: str, wanted: _Wanted) -> str:
    name = _DEVICES.get(provider, provider.removesuffix("ExecutionProvider").lower())
    options = next((options for asked, options in wanted if asked == provider), {})
    return f"{name}:{options.get('device_id', '0')}" if name == "cuda" else name


def _spec(node: Any) -> TensorSpec:
    shape = tuple(dim if isinstance(dim, int) and dim > 0 else None for dim in node.shape)
    return TensorSpec(node.name, shape, np.dtype(_DTYPES.get(node.type, np.object_)))


def _precision_of(inputs: Sequence[TensorSpec]) -> str:
    return "fp16" if any(spec.dtype == np.float16 for spec in inputs) else "fp32"


def _batch_sizes(inputs: Sequence[TensorSpec]) -> BatchSizes:
    first = inputs[0].shape[:1] if inputs else ()
    return BatchSizes(fixed=(first[0],)) if first and first[0] else BatchSizes()


def _told(error: Exception) -> str:
    """ONNX Runtime's messages run over lines and start with a code's number and name."""
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", one_line(error))
