"""Sessions for tests, opened as a node opens them."""

from pathlib import Path
from typing import Any

from hearth.backends import SessionOptions
from hearth.backends.onnx import OnnxBackend, OnnxSession


def open_onnx(path: Path, **options: Any) -> OnnxSession:
    """An ONNX file; ``options`` are those of SessionOptions."""
    return OnnxBackend().open(path, SessionOptions(**options))
