"""Sessions on PyTorch."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hearth.backends._denormals import flush_denormals
from hearth.backends._memory import is_out_of_memory
from hearth.backends.session import Array, BatchSizes, TensorSpec
from hearth.errors import BackendUnavailable, ModelFailed, OutOfMemory, how_to_install, one_line

log = logging.getLogger(__name__)

_PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64"}


class TorchSession:
    """A callable over tensors, usually a module, on one device.

    ``function`` takes the inputs in the order of ``inputs`` and returns a tensor, or a
    tuple of them in the order of ``outputs``; its weights are on ``device`` already.
    ``precision`` is what it computes in (``fp32``, …). Any batch size runs.
    """

    runtime = "torch"
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
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self._torch = import_torch()
        self._function: Callable[..., Any] | None = function
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.device = device
        self.precision = precision
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
    """The module ``torch``; raises BackendUnavailable where it isn't there."""
    try:
        import torch
    except ImportError as error:
        raise BackendUnavailable(
            f"torch can't be imported ({error}): {how_to_install('torch')}"
        ) from None
    return torch


def choose_device(device: str, *, require_device: bool = False) -> str:
    """The device that torch will really use: cpu, cuda:N or mps.

    ``device`` is auto (cuda, then mps, then cpu), cpu, cuda, cuda:N or mps. One that
    isn't here becomes the CPU with a warning; with ``require_device`` that raises
    BackendUnavailable, as does ``auto`` where only the CPU is here.
    """
    torch = import_torch()
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise BackendUnavailable(f"no device {device!r}: choose auto, cpu, cuda, cuda:N or mps")
    here = devices(torch)
    if device == "auto":
        if require_device and here[0] == "cpu":
            raise BackendUnavailable("no accelerator that torch can use: only the CPU is here")
        return here[0]
    name = "cuda:0" if device == "cuda" else device
    if name in here:
        return name
    complaint = f"torch has no device {device}; here are {', '.join(here)}"
    if require_device:
        raise BackendUnavailable(complaint)
    log.warning("%s: using the CPU", complaint)
    return "cpu"


def devices(torch: Any) -> tuple[str, ...]:
    """The devices of this machine that ``torch`` can use, best first."""
    cuda = [f"cuda:{n}" for n in range(torch.cuda.device_count())]
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return (*cuda, *mps, "cpu")


def precision_of(module: Any) -> str:
    """What most of a module's parameters are: ``fp32``, ``fp16``, ``bf16``, …"""
    counts: dict[str, int] = {}
    for parameter in module.parameters():
        name = str(parameter.dtype).removeprefix("torch.")
        counts[name] = counts.get(name, 0) + parameter.numel()
    most = max(counts, key=lambda name: counts[name], default="float32")
    return _PRECISIONS.get(most, most)
