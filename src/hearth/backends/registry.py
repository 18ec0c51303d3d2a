"""All engines by name: the one place that names them."""

from pathlib import Path
from typing import NoReturn

from hearth.backends.backend import Backend, Device, Placement
from hearth.backends.litert import LiteRtBackend
from hearth.backends.onnx import OnnxBackend
from hearth.backends.session import DEFAULTS, Session, SessionOptions
from hearth.backends.torch import TorchBackend
from hearth.errors import BackendUnavailable, ModelUnavailable


class _Planned(Backend):
    """An engine that settings may name already, and that this version can't use."""

    def __init__(self, name: str, title: str) -> None:
        self.name, self.title = name, title

    def unavailable(self) -> str:
        return f"the {self.name} backend is not in this version yet"

    def version(self) -> NoReturn:
        raise BackendUnavailable(self.unavailable())

    def devices(self) -> tuple[Device, ...]:
        self.version()

    def place(self, options: SessionOptions) -> Placement:
        self.version()

    def open(self, path: Path, options: SessionOptions = DEFAULTS) -> Session:
        self.version()


BACKENDS: dict[str, Backend] = {}
"""Engines by the name that settings and the contract's ``runtime`` have for them."""


def register(backend: Backend) -> None:
    """Add an engine; one of its name that is there already is replaced."""
    BACKENDS[backend.name] = backend


register(OnnxBackend())
register(TorchBackend())
register(LiteRtBackend())
register(_Planned("rknn", "Rockchip's NPU"))


def require_backend(name: str) -> Backend:
    """Return the engine of that name; raises BackendUnavailable where it can't be used here."""
    backend = BACKENDS.get(name)
    if backend is None:
        raise BackendUnavailable(f"no backend {name!r}: choose from {', '.join(BACKENDS)}")
    if reason := backend.unavailable():
        raise BackendUnavailable(reason)
    return backend


def backend_of(path: Path) -> Backend:
    """Return the engine that opens files with this one's ending.

    Raises ModelUnavailable where none does, BackendUnavailable where it can't be used here.
    """
    for backend in BACKENDS.values():
        if path.suffix.lower() in backend.suffixes:
            return require_backend(backend.name)
    raise ModelUnavailable(f"{path}: no engine opens files that end in {path.suffix or 'nothing'}")


def open_session(path: Path, options: SessionOptions = DEFAULTS) -> Session:
    """Open a model's file with the engine of its ending; raises as ``Backend.open`` does."""
    return backend_of(path).open(path, options)
