"""Choice of the ONNX Runtime execution providers that sessions run on, and proof that they can.

ONNX Runtime lists the providers that it was built with, and takes the CPU without a word where
one's libraries aren't here. So each that is asked for is tried once, on a tiny graph.
"""

import ctypes
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hearth.backends._device_proofs import DeviceProofs
from hearth.backends.session import SessionOptions
from hearth.errors import BackendUnavailable, how_to_install, one_line

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
_MPS = "CoreMLExecutionProvider"
_CLOUD = "AzureExecutionProvider"
"""No device: it sends the work to that company's cloud."""

_AUTO = (CUDA, "MIGraphXExecutionProvider", "ROCMExecutionProvider")
"""Providers that ``auto`` takes, first choice first. CoreML isn't among them: it computes in
half precision, and that is for the user to choose."""

_DEVICES = {CPU: "cpu", CUDA: "cuda", _MPS: "mps", "TensorrtExecutionProvider": "cuda"}

FRONT = Path(__file__).parent.parent / "assets" / "pixels.onnx"
"""Graph of few nodes that turns pixels into floats, written by ``tools/make_front.py``."""

_MISSING = (
    re.compile(r"([\w.+-]+\.so[\w.]*): cannot open shared object file"),
    re.compile(r'depends on "([^"]+)" which is missing'),
)
"""Words of an error about a missing library: the linker's on Linux, ONNX Runtime's on Windows."""


class Provider(NamedTuple):
    """An execution provider, and which device of its kind."""

    name: str
    number: str = ""
    """Number of the device; empty: the provider's own choice."""

    @property
    def options(self) -> dict[str, str]:
        """Options as ONNX Runtime takes them."""
        return {"device_id": self.number} if self.number else {}

    @property
    def device(self) -> str:
        """Name of the device as settings spell it."""
        name = _DEVICES.get(self.name, short_name(self.name).lower())
        return f"{name}:{self.number or '0'}" if name == "cuda" else name


ON_CPU = Provider(CPU)


class Choice(NamedTuple):
    """The providers of a session, the CPU last."""

    providers: tuple[Provider, ...]
    fallback: str = ""
    """Reason why the first isn't what was asked for or, with ``auto``, the best listed; empty: it
    is."""


class Providers:
    """The execution providers of this machine, each proved when it is first asked for.

    ``listed`` names those that ONNX Runtime has (its own list unless a test brings one);
    ``libraries`` is the folder that theirs are in.
    """

    def __init__(
        self, listed: Callable[[], Sequence[str]] | None = None, libraries: Path | None = None
    ) -> None:
        self._listed = listed
        self._libraries = libraries
        self._proofs = DeviceProofs(self._prove)

    def listed(self) -> tuple[str, ...]:
        """List the names of all, best first; raises BackendUnavailable."""
        names = self._listed or import_onnxruntime().get_available_providers
        return tuple(name for name in names() if name != _CLOUD)

    def choose(self, options: SessionOptions) -> Choice:
        """Choose the providers of a session.

        Raises BackendUnavailable for a device or provider that there is no such of, and with
        ``require_device`` where what was asked for can't be had.
        """
        listed = self.listed()
        asked, faults = self._asked(options, listed)
        good: list[Provider] = []
        for provider in asked:
            if good and not options.names_device:
                break
            if fault := self.fault(provider):
                faults.append(fault)
            else:
                good.append(provider)
        on_cpu = not good or good[0] == ON_CPU
        if options.require_device and not options.names_device and on_cpu:
            why = "; ".join(faults) or f"here are {', '.join(listed)}"
            raise BackendUnavailable(f"no accelerator that ONNX Runtime can use; {why}")
        lacking = bool(faults) and (not good or good[0] != asked[0])
        if options.require_device and lacking:
            raise BackendUnavailable(faults[0])
        if ON_CPU not in good:
            good.append(ON_CPU)
        fallback = f"{faults[0]}: using {in_words(good[0].name)}" if lacking else ""
        return Choice(tuple(good), fallback)

    def log_once(self, choice: Choice) -> None:
        """Warn of a fallback, in the first session that it happens to."""
        self._proofs.log_once(choice.fallback)

    def fault(self, provider: Provider) -> str:
        """Say why a provider that is listed can't run, or nothing; tried once."""
        return "" if provider == ON_CPU else self._proofs.fault(provider)

    def _asked(
        self, options: SessionOptions, listed: Sequence[str]
    ) -> tuple[list[Provider], list[str]]:
        """Name the providers to try, and what is wrong with those that aren't even listed."""
        if options.providers:
            return [Provider(_full_name(name, listed)) for name in options.providers], []
        if options.device == "auto":
            return [Provider(name) for name in _AUTO if name in listed] or [ON_CPU], []
        provider = _of_device(options.device)
        if provider.name in listed or provider == ON_CPU:
            return [provider], []
        fault = f"device {options.device} needs {provider.name}; here are {', '.join(listed)}"
        return [], [fault]

    def _prove(self, provider: Provider) -> str:
        """Run the tiny graph; say what keeps the provider from it."""
        ort = import_onnxruntime()
        options = ort.SessionOptions()
        options.log_severity_level = 4  # we say it ourselves, in one line
        why = ""
        try:
            session = ort.InferenceSession(
                FRONT, options, providers=as_asked([provider, ON_CPU]), enable_fallback=0
            )
            if session.get_providers()[0] == provider.name:
                session.disable_fallback()
                ones = np.ones(3, np.float32)
                pixels = np.zeros((1, 1, 1, 3), np.uint8)
                session.run(None, {"pixels": pixels, "scale": ones, "offset": ones})
                return ""
        except Exception as error:  # whatever a driver raises
            why = told(error)
        missing = missing_library(why) or missing_library(self._load_error(provider))
        cause = missing or why or "ONNX Runtime took the CPU instead"
        return f"{provider.name} is listed and can't run: {cause}"

    def _load_error(self, provider: Provider) -> str:
        """Load the provider's own library; return what the system says where that fails."""
        folder = self._libraries or Path(import_onnxruntime().__file__).parent / "capi"
        library = folder / f"libonnxruntime_providers_{short_name(provider.name).lower()}.so"
        try:
            if library.is_file():
                ctypes.CDLL(str(library), mode=getattr(os, "RTLD_LAZY", 0))
        except OSError as error:
            return str(error)
        return ""


def as_asked(providers: Sequence[Provider]) -> list[tuple[str, dict[str, str]]]:
    """Put providers as ONNX Runtime takes them."""
    return [(provider.name, provider.options) for provider in providers]


def import_onnxruntime() -> Any:
    """Import ``onnxruntime``; raises BackendUnavailable where that can't be done."""
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendUnavailable(
            f"onnxruntime can't be imported ({error}): {how_to_install('server')}"
        ) from None
    return onnxruntime


def missing_library(said: str) -> str:
    """Say which shared library a loader's message misses; empty where it misses none."""
    found = next(filter(None, (pattern.search(said) for pattern in _MISSING)), None)
    return f"{found[1]} is missing" if found else ""


def short_name(provider: str) -> str:
    """Strip the ending that all providers' names have."""
    return provider.removesuffix("ExecutionProvider")


def in_words(provider: str) -> str:
    """Name a provider in a sentence: ``the CPU``, ``CUDA``."""
    return "the CPU" if provider == CPU else short_name(provider)


def told(error: Exception) -> str:
    """Put what ONNX Runtime raises in one line, without its code's number and name."""
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", one_line(error))


def _full_name(name: str, listed: Sequence[str]) -> str:
    """Find the full name of a provider, however it is spelt; raises BackendUnavailable."""
    for candidate in listed:
        if short_name(candidate).lower() == name.lower().removesuffix("executionprovider"):
            return candidate
    raise BackendUnavailable(f"no provider {name!r} here: choose from {', '.join(listed)}")


def _of_device(device: str) -> Provider:
    if device == "cpu":
        return ON_CPU
    if device == "mps":
        return Provider(_MPS)
    if match := re.fullmatch(r"cuda(?::(\d+))?", device):
        return Provider(CUDA, match[1] or "0")
    raise BackendUnavailable(f"no device {device!r}: choose auto, cpu, cuda, cuda:N or mps")
