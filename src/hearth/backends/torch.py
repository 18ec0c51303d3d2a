"""Sessions on PyTorch."""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn

from hearth.backends._denormals import flush_denormals
from hearth.backends._device_proofs import DeviceProofs
from hearth.backends._memory import is_out_of_memory
from hearth.backends.backend import Backend, Device, Placement
from hearth.backends.session import DEFAULTS, Array, BatchSizes, SessionOptions, TensorSpec
from hearth.errors import (
    BackendUnavailable,
    ModelFailed,
    ModelUnavailable,
    OutOfMemory,
    how_to_install,
    one_line,
)

_PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64"}


class TorchBackend(Backend):
    """PyTorch, which runs modules and opens no files: ``models.clip.openclip`` makes its own.

    ``listed`` names the devices, best first (this machine's, unless a test brings others).
    """

    name = "torch"
    title = "torch"
    packages = ("torch", "torchvision", "open_clip")
    install = how_to_install("torch")

    def __init__(self, listed: Callable[[], Sequence[str]] | None = None) -> None:
        self._listed = listed or _devices_here
        self._proofs = DeviceProofs(_prove)

    def version(self) -> str:
        """Return torch's version; raises BackendUnavailable."""
        return str(import_torch().__version__)

    def devices(self) -> tuple[Device, ...]:
        """List the devices, each tried out; raises BackendUnavailable."""
        return tuple(
            Device(name, _label(name), self._proofs.fault(name)) for name in self._listed()
        )

    def place(self, options: SessionOptions) -> Placement:
        """Say which device torch would use: cpu, cuda:N or mps.

        ``auto`` is cuda, then mps, then cpu. One that can't be had becomes the CPU; with
        ``require_device`` that raises BackendUnavailable, as does ``auto`` where only the CPU is
        here.
        """
        device = options.device
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
            raise BackendUnavailable(f"no device {device!r}: choose auto, cpu, cuda, cuda:N or mps")
        listed = self._listed()
        if device == "auto":
            faults = list(takewhile(bool, map(self._proofs.fault, listed)))
            name = listed[len(faults)]  # the CPU, last, has none
            if name == "cpu" and options.require_device:
                why = "; ".join(faults) or "only the CPU is here"
                raise BackendUnavailable(f"no accelerator that torch can use: {why}")
            instead = "the CPU" if name == "cpu" else name
            return Placement(name, self.name, f"{faults[0]}: using {instead}" if faults else "")
        name = "cuda:0" if device == "cuda" else device
        fault = f"torch has no device {device}; here are {', '.join(listed)}"
        if name in listed and not (fault := self._proofs.fault(name)):
            return Placement(name, self.name)
        if options.require_device:
            raise BackendUnavailable(fault)
        return Placement("cpu", self.name, f"{fault}: using the CPU")

    def settle(self, options: SessionOptions) -> Placement:
        """Place a model's sessions, and warn, once, of a fallback; raises as ``place`` does."""
        placement = self.place(options)
        self._proofs.log_once(placement.fallback)
        return placement

    def open(self, path: Path, options: SessionOptions = DEFAULTS) -> NoReturn:
        """Raise ModelUnavailable: there is no file that torch opens by itself."""
        raise ModelUnavailable(f"{path}: torch runs models of open_clip, and opens no files")


class TorchSession:
    """A callable over tensors, usually a module, on one device.

    ``function`` takes the inputs in the order of ``inputs`` and returns a tensor, or a
    tuple of them in the order of ``outputs``; its weights are on ``device`` already.
    ``precision`` is what it computes in (``fp32``, …). Any batch size runs.
    """

    runtime = TorchBackend.name
    provider = "torch"
    threads: int | None = None

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        device: str,
        precision: str,
        fallback: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self._torch = import_torch()
        self._function: Callable[..., Any] | None = function
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.device = device
        self.precision = precision
        self.fallback = fallback
        self.batch_sizes = BatchSizes()
        self.metadata: Mapping[str, str] = dict(metadata or {})

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Call the function once; every output by its name. Raises ModelFailed, OutOfMemory."""
        function = self._function
        if function is None:
            raise ModelFailed("the session is closed")
        unknown = feeds.keys() ^ {spec.name for spec in self.inputs}
        if unknown:
            raise ModelFailed(f"torch: the inputs differ in {', '.join(sorted(unknown))}")
        try:
            arrays = self._call(function, feeds)
        except Exception as error:
            failure = f"torch: {one_line(error)}"
            if not is_out_of_memory(error):
                raise ModelFailed(failure) from error
        else:
            return dict(zip((spec.name for spec in self.outputs), arrays, strict=True))
        # Out here, where nothing holds the frames that failed any more, nor the memory
        # of their tensors, which the next try will need.
        raise OutOfMemory(failure)

    def close(self) -> None:
        """Free the module."""
        self._function = None

    def _call(self, function: Callable[..., Any], feeds: Mapping[str, Array]) -> list[Array]:
        with self._torch.inference_mode(), flush_denormals():
            results = function(*(self._tensor(feeds[spec.name]) for spec in self.inputs))
            tensors = results if isinstance(results, tuple) else (results,)
            return [tensor.to("cpu").numpy() for tensor in tensors]

    def _tensor(self, array: Array) -> Any:
        return self._torch.from_numpy(array).to(self.device)


def import_torch() -> Any:
    """Import ``torch``; raises BackendUnavailable where it isn't there."""
    try:
        import torch
    except ImportError as error:
        raise BackendUnavailable(
            f"torch can't be imported ({error}): {how_to_install('torch')}"
        ) from None
    return torch


def _devices_here() -> tuple[str, ...]:
    """Return the devices of this machine that torch lists, best first."""
    torch = import_torch()
    cuda = [f"cuda:{n}" for n in range(torch.cuda.device_count())]
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return (*cuda, *mps, "cpu")


def _prove(device: str) -> str:
    """Compute a little on a device; say what keeps it from that."""
    if device == "cpu":
        return ""
    torch = import_torch()
    try:
        (torch.ones(2, 2, device=device) @ torch.ones(2, 2, device=device)).cpu()
    except Exception as error:  # whatever a driver raises
        return f"torch lists {device}, and it can't run: {one_line(error)}"
    return ""


def _label(device: str) -> str:
    """Return a device for people: ``cuda (NVIDIA L4)``."""
    torch = import_torch()
    if not device.startswith("cuda"):
        return device
    # ROCm shows itself as CUDA.
    kind = "rocm" if torch.version.hip else "cuda"
    try:
        return f"{kind} ({torch.cuda.get_device_name(device)})"
    except Exception:  # a device that can't run has no name either
        return f"{kind} ({device})"


def precision_of(module: Any) -> str:
    """Name what most of a module's parameters are: ``fp32``, ``fp16``, ``bf16``, …"""
    counts: dict[str, int] = {}
    for parameter in module.parameters():
        name = str(parameter.dtype).removeprefix("torch.")
        counts[name] = counts.get(name, 0) + parameter.numel()
    most = max(counts, key=lambda name: counts[name], default="float32")
    return _PRECISIONS.get(most, most)
