"""The one door to open_clip, which brings torch and torchvision with it."""

import importlib.util
import warnings
from pathlib import Path
from typing import Any

from hearth.backends import require_backend
from hearth.errors import BackendUnavailable

_kept_alive: list[Any] = []


def import_open_clip() -> Any:
    """The module ``open_clip``; raises BackendUnavailable where it can't be imported."""
    require_backend("torch")
    try:
        _define_missing_operators()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside other people's packages
            import open_clip
    except (ImportError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise BackendUnavailable(f"open_clip can't be imported: {reason}") from None
    return open_clip


def _define_missing_operators() -> None:
    """Let a torchvision without its compiled operators be imported.

    A CPU build of torch beside the package registry's torchvision, which is built for
    CUDA, can't load the operators; ``import torchvision`` then fails with "operator
    torchvision::nms does not exist". open_clip only wants its image transforms, so the
    two operators that the import looks for are declared, without an implementation.
    """
    import torch

    spec = importlib.util.find_spec("torchvision")
    if _kept_alive or spec is None or spec.origin is None or _operators_load(torch, spec.origin):
        return
    # The declarations last as long as the library object does.
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _kept_alive.append(library)


def _operators_load(torch: Any, origin: str) -> bool:
    """Whether torchvision's compiled operators can be loaded, as its own import will try."""
    for path in Path(origin).parent.glob("_C*"):
        if path.suffix in {".so", ".pyd", ".dylib"}:
            try:
                torch.ops.load_library(str(path))
            except OSError:
                continue
            return True
    return False
