"""Sessions on ONNX Runtime."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hearth.backends._denormals import flush_denormals
from hearth.backends._memory import is_out_of_memory
from hearth.backends._onnx_providers import (
    CPU,
    ON_CPU,
    Choice,
    Provider,
    Providers,
    as_asked,
    import_onnxruntime,
    in_words,
    short_name,
    told,
)
from hearth.backends._onnx_weights import weight_precision
from hearth.backends.backend import Backend, Device, Placement, require_precision
from hearth.backends.session import DEFAULTS, Array, BatchSizes, SessionOptions, TensorSpec
from hearth.errors import (
    BackendUnavailable,
    HearthError,
    ModelFailed,
    ModelUnavailable,
    OutOfMemory,
    how_to_install,
)

log = logging.getLogger(__name__)

_CPUS = Path("/sys/devices/system/cpu")
_SIBLINGS = "cpu[0-9]*/topology/thread_siblings_list"

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


class OnnxBackend(Backend):
    """ONNX Runtime, on the CPU or on whichever of its execution providers can be had.

    ``providers`` are this machine's, unless a test brings others.
    """

    name = "onnxrt"
    title = "ONNX Runtime"
    packages = ("onnxruntime",)
    install = how_to_install("server")
    suffixes = (".onnx",)

    def __init__(self, providers: Providers | None = None) -> None:
        self._providers = providers or Providers()

    def version(self) -> str:
        """Return ONNX Runtime's version; raises BackendUnavailable."""
        return str(import_onnxruntime().__version__)

    def devices(self) -> tuple[Device, ...]:
        """List the execution providers, each tried out; raises BackendUnavailable."""
        listed = [Provider(name) for name in self._providers.listed()]
        return tuple(
            Device(provider.device, short_name(provider.name), self._providers.fault(provider))
            for provider in listed
        )

    def place(self, options: SessionOptions) -> Placement:
        """Say which provider a session would run on; raises BackendUnavailable."""
        providers, fallback = self._providers.choose(options)
        return Placement(providers[0].device, providers[0].name, fallback)

    def open(self, path: Path, options: SessionOptions = DEFAULTS) -> "OnnxSession":
        """Open an ONNX file.

        Raises BackendUnavailable where onnxruntime or a provider can't be had, or, with
        ``require_device``, where anything but the device ``cpu`` was asked for and the CPU is
        what ONNX Runtime took; ModelUnavailable where the file can't be loaded.
        """
        import_onnxruntime()
        if not path.is_file():
            raise ModelUnavailable(f"no such file: {path}")
        choice = self._providers.choose(options)
        self._providers.log_once(choice)
        session = OnnxSession(path, choice, options)
        require_precision(session, path, options)
        return session


class OnnxSession:
    """An ONNX file on ONNX Runtime, opened by ``OnnxBackend``."""

    runtime = OnnxBackend.name

    def __init__(self, path: Path, choice: Choice, options: SessionOptions) -> None:
        self.threads = options.threads
        self._keeps_memory = options.keep_memory
        weights = weight_precision(path)
        # also leaves the thread as it was, which ONNX Runtime does not
        with flush_denormals():
            engine, failure = _open(path, choice, options, weights)
        self.engine: Any = engine
        """The ``InferenceSession``; None once it is closed."""
        # A provider that fails later must be an error, not a quiet move to the CPU.
        engine.disable_fallback()
        self.provider: str = engine.get_providers()[0]
        self.fallback = choice.fallback if options.names_device else ""
        first = choice.providers[0]
        if self.provider != first.name:
            why = f": {failure}" if failure else ""
            self.fallback = f"{path.name} can't run on {first.name}{why}"
            if options.require_device:
                raise BackendUnavailable(self.fallback)
            self.fallback += f": using {in_words(self.provider)}"
            log.warning("%s", self.fallback)
        self.placed = next(p for p in (*choice.providers, ON_CPU) if p.name == self.provider)
        """Provider that the session runs on, with its options."""
        self.device = self.placed.device
        self.inputs = tuple(_spec(node) for node in engine.get_inputs())
        self.outputs = tuple(_spec(node) for node in engine.get_outputs())
        self.output_names = tuple(spec.name for spec in self.outputs)
        self.precision = weights or _precision_of(self.inputs)
        self.batch_sizes = _batch_sizes(self.inputs)
        self.metadata: Mapping[str, str] = dict(engine.get_modelmeta().custom_metadata_map)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph once; every output by its name. Raises ModelFailed, OutOfMemory."""
        try:
            with flush_denormals():
                arrays = self.engine.run(None, dict(feeds))
        except Exception as error:
            raise self.failure(error) from error
        return dict(zip(self.output_names, arrays, strict=True))

    def release_memory(self, feeds: Mapping[str, Array]) -> None:
        """Run once, and keep no more of the CPU's memory than that takes. Raises as ``run``."""
        if not self._keeps_memory:
            return
        options = import_onnxruntime().RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        try:
            with flush_denormals():
                self.engine.run(None, dict(feeds), options)
        except Exception as error:
            raise self.failure(error) from error

    def failure(self, error: Exception) -> HearthError:
        """Tell what ONNX Runtime raised in a run: ModelFailed or OutOfMemory."""
        if self.engine is None:
            return ModelFailed("the session is closed")
        kind = OutOfMemory if is_out_of_memory(error) else ModelFailed
        return kind(f"ONNX Runtime: {told(error)}")

    def close(self) -> None:
        """Free the graph."""
        self.engine = None


def _engine_options(ort: Any, weights: str | None, wanted: SessionOptions) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors; what matters of the rest is said by us
    options.enable_cpu_mem_arena = wanted.keep_memory
    options.intra_op_num_threads = wanted.threads or _cores()
    # Two sessions share the cores: one that spins while it waits starves the other, so nobody
    # spins for long, and never between runs. ONNX Runtime's own spinning takes 1.7 to 1.8 of the
    # CPU on two busy cores, and 28 ms of it after every run (benchmarks/spinning.py).
    options.add_session_config_entry(
        "session.intra_op.allow_spinning", str(int(wanted.spin_us > 0))
    )
    if wanted.spin_us:
        options.add_session_config_entry("session.intra_op.spin_duration_us", str(wanted.spin_us))
        options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.set_denormal_as_zero", "1")  # in its own threads
    if weights == "fp16":
        # ENABLE_ALL crashes the process with such a model on a CPU (measured with 1.31);
        # a GPU may fall back to one, and the level below has all the fusions.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_LAYOUT
    return options


def _cores() -> int:
    """Count the cores for a run's threads: those this process is confined to (taskset, a cpuset),
    else the machine's, hyperthreads counted once; 0 where the system doesn't tell.

    ONNX Runtime's own choice is as many, but overlooks such bounds, and pins each thread to a core:
    the threads of all sessions to the same ones, whoever else is busy there. In one run on two
    cores a text of ViT-B-32 took 50 ms instead of 69 beside other work; on free cores there was no
    difference beyond the noise (benchmarks/immich.py, spinning.py).
    """
    if not hasattr(os, "sched_getaffinity"):  # macOS and Windows have no such bounds
        return 0
    usable = len(os.sched_getaffinity(0))
    if usable < (os.cpu_count() or 1):
        return usable
    return len({siblings.read_text() for siblings in _CPUS.glob(_SIBLINGS)})


def _open(
    path: Path, choice: Choice, options: SessionOptions, weights: str | None
) -> tuple[Any, str]:
    """Open the session; return it with the reason why it isn't on the first provider, where the
    engine gives one.
    """
    ort = import_onnxruntime()
    engine_options = _engine_options(ort, weights, options)

    def open_with(providers: Sequence[Provider]) -> Any:
        graph = options.content or path
        return ort.InferenceSession(
            graph, engine_options, providers=as_asked(providers), enable_fallback=0
        )

    try:
        return open_with(choice.providers), ""
    except Exception as error:
        failure = told(error)
    if choice.providers[0].name != CPU:
        try:
            return open_with([ON_CPU]), failure
        except Exception as error:
            failure = told(error)
    raise ModelUnavailable(f"{path} can't be loaded: {failure}")


def _spec(node: Any) -> TensorSpec:
    shape = tuple(dim if isinstance(dim, int) and dim > 0 else None for dim in node.shape)
    return TensorSpec(node.name, shape, np.dtype(_DTYPES.get(node.type, np.object_)))


def _precision_of(inputs: Sequence[TensorSpec]) -> str:
    return "fp16" if any(spec.dtype == np.float16 for spec in inputs) else "fp32"


def _batch_sizes(inputs: Sequence[TensorSpec]) -> BatchSizes:
    first = inputs[0].shape[:1] if inputs else ()
    return BatchSizes(fixed=(first[0],)) if first and first[0] else BatchSizes()
