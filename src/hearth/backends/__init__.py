"""The engines: each gives sessions, and nothing but sessions.

This registry is the one place that names them all. An engine's module is only
imported by whoever makes a session with it.
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass

from hearth.backends.session import Array, BatchSizes, Session, TensorSpec
from hearth.environment import switch_off_telemetry
from hearth.errors import BackendUnavailable, how_to_install

__all__ = [
    "BACKENDS",
    "Array",
    "Backend",
    "BatchSizes",
    "Session",
    "TensorSpec",
    "require_backend",
]

switch_off_telemetry()  # here, as whatever imports an engine comes by


@dataclass(frozen=True, slots=True)
class Backend:
    """What there is to know of an engine without importing it."""

    name: str
    """As settings and the contract's ``runtime`` spell it."""
    title: str
    packages: tuple[str, ...]
    """Python packages that it imports."""
    install: str
    """The command that brings them."""
    lacking: str | None = None
    """Why this version of hearth can't use it, however much is installed."""

    def unavailable(self) -> str | None:
        """Why the engine can't be used here, in one line, or None; imports nothing."""
        if self.lacking:
            return self.lacking
        missing = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if missing:
            return f"{', '.join(missing)} not installed: {self.install}"
        return None


BACKENDS: Mapping[str, Backend] = {
    backend.name: backend
    for backend in (
        Backend("onnxrt", "ONNX Runtime", ("onnxruntime",), how_to_install("server")),
        Backend(
            "torch",
            "PyTorch through open_clip",
            ("torch", "torchvision", "open_clip"),
            how_to_install("torch"),
        ),
        Backend("litert", "LiteRT", ("ai_edge_litert",), how_to_install("litert")),
        Backend(
            "rknn", "Rockchip's NPU", (), "", lacking="the rknn backend is not in this version yet"
        ),
    )
}


def require_backend(name: str) -> Backend:
    """The engine of that name; raises BackendUnavailable where it can't be used here."""
    backend = BACKENDS.get(name)
    if backend is None:
        raise BackendUnavailable(f"no backend {name!r}: choose from {', '.join(BACKENDS)}")
    if reason := backend.unavailable():
        raise BackendUnavailable(reason)
    return backend
