"""The one door to open_clip, which brings torch and torchvision with it."""

import importlib.util
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hearth.backends import Placement, TensorSpec
from hearth.backends.quiet import no_compiler_cache, quietly
from hearth.backends.registry import require_backend
from hearth.backends.torch import TorchSession, precision_of
from hearth.errors import BackendUnavailable, ModelUnavailable, one_line
from hearth.families.clip import tokenizer as tokenizers
from hearth.families.clip.parts import Parts
from hearth.families.clip.tokenizer import CONTEXT, Tokenizer, Tokens
from hearth.families.clip.transform import ImageTransform
from hearth.hub.atomic import read_json

CONFIG = "open_clip_config.json"
WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
"""Names that open_clip gives a model's weights, the safe format first."""

_kept_alive: list[Any] = []


@dataclass(frozen=True)
class Checkpoint:
    """An open_clip model on the disk."""

    name: str
    """Argument of ``open_clip.create_model``: an architecture or ``local-dir:…``."""
    config: Mapping[str, Any]
    """open_clip's model config."""
    weights: Path
    tokenizer: Path | None = None
    """A folder with ``tokenizer.json``; None: CLIP's own tokenizer."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of ``create_model``."""

    @classmethod
    def in_folder(cls, folder: Path) -> "Checkpoint":
        """Take a folder as open_clip publishes it; raises ModelUnavailable."""
        if not (folder / CONFIG).is_file():
            raise ModelUnavailable(f"{folder} holds no open_clip model: {CONFIG} is missing")
        config = read_json(folder / CONFIG).get("model_cfg")
        if not isinstance(config, dict):
            raise ModelUnavailable(f"{folder / CONFIG} has no model_cfg")
        weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
        if weights is None:
            raise ModelUnavailable(f"{folder} holds no weights: {' or '.join(WEIGHTS)} is missing")
        tokenizer = folder if tokenizer_repository(config) else None
        return cls(f"local-dir:{folder}", config, weights, tokenizer)

    @classmethod
    def of_architecture(
        cls,
        architecture: str,
        weights: Path,
        *,
        pretrained: Mapping[str, Any] | None = None,
        tokenizer: Path | None = None,
    ) -> "Checkpoint":
        """Take weights for one of open_clip's architectures.

        ``pretrained`` is open_clip's entry for the weights' tag, which says how their
        pictures are prepared and which activation they were trained with. Raises
        ModelUnavailable for an unknown architecture.
        """
        config = architecture_config(architecture)
        options: dict[str, Any] = {"pretrained": str(weights)}
        if pretrained is not None:
            keys = ("mean", "std", "interpolation", "resize_mode")
            options["force_preprocess_cfg"] = {k: pretrained[k] for k in keys if k in pretrained}
            # Without it OpenAI's weights run with the wrong activation, and open_clip
            # only warns.
            options["force_quick_gelu"] = bool(pretrained.get("quick_gelu"))
        return cls(architecture, config, weights, tokenizer, options)


@dataclass(frozen=True)
class OpenClip:
    """A loaded open_clip model."""

    module: Any
    """``CLIP`` or ``CustomTextCLIP``, in evaluation mode on its device."""
    transform: ImageTransform
    preprocess: Mapping[str, Any]
    tokenizer: Tokenizer
    context: int
    dim: int
    logit_scale: float
    logit_bias: float | None


def load(checkpoint: Checkpoint, device: str = "cpu") -> OpenClip:
    """Load a checkpoint with open_clip; raises ModelUnavailable, BackendUnavailable."""
    open_clip = import_open_clip()
    try:
        with quietly():
            module = open_clip.create_model(
                checkpoint.name, device=device, require_pretrained=True, **checkpoint.options
            )
    except Exception as error:
        raise ModelUnavailable(
            f"open_clip can't load {checkpoint.weights}: {one_line(error)}"
        ) from error
    return describe(module, checkpoint)


def describe(module: Any, checkpoint: Checkpoint) -> OpenClip:
    """Tell what there is to know of a module that was made from a checkpoint."""
    module.eval().requires_grad_(False)
    bias = getattr(module, "logit_bias", None)
    preprocess = dict(module.visual.preprocess_cfg)
    context = int((checkpoint.config.get("text_cfg") or {}).get("context_length") or CONTEXT)
    return OpenClip(
        module,
        ImageTransform.from_config(preprocess),
        preprocess,
        _tokenizer(checkpoint, context),
        context,
        int(checkpoint.config["embed_dim"]),
        float(module.logit_scale.exp()),
        None if bias is None else float(bias),
    )


def torch_parts(
    model: OpenClip, model_id: str, placement: Placement, files: tuple[Path, ...]
) -> Parts:
    """Make torch sessions of a model's two towers; it is where ``placement`` says already."""
    height, width = model.transform.height, model.transform.width
    embedding = TensorSpec("embedding", (None, model.dim), np.dtype(np.float32))
    precision = precision_of(model.module)

    def session(function: Any, taken: TensorSpec) -> TorchSession:
        return TorchSession(
            lambda tensor: function(tensor).float(),
            inputs=[taken],
            outputs=[embedding],
            device=placement.device,
            precision=precision,
            fallback=placement.fallback,
        )

    normalise = normaliser(model.transform, placement.device)
    pixels = TensorSpec("pixels", (None, height, width, 3), np.dtype(np.uint8))
    floats = TensorSpec("image", (None, 3, height, width), np.dtype(np.float32))
    tokens = TensorSpec("text", (None, model.context), np.dtype(np.int64))
    return Parts(
        model_id,
        session(lambda taken: model.module.encode_image(normalise(taken)), pixels),
        model.transform,
        files,
        logit_scale=model.logit_scale,
        logit_bias=model.logit_bias,
        floats=session(model.module.encode_image, floats),
        text=session(model.module.encode_text, tokens),
        tokenizer=model.tokenizer,
    )


def normaliser(transform: ImageTransform, device: str) -> Callable[[Any], Any]:
    """Make a function on ``device`` from uint8 (n, height, width, 3) to float32 (n, 3, …)."""
    import torch

    scale, offset = (torch.tensor(v, device=device) for v in (transform.scale, transform.offset))
    zeros, ones = torch.zeros_like(scale), torch.ones_like(scale)

    def normalise(pixels: Any) -> Any:
        planes = pixels.permute(0, 3, 1, 2)
        floats = planes.to(torch.float32, memory_format=torch.contiguous_format)
        # With a mean of 0 and a variance of 1: one product and one sum in one pass.
        return torch.nn.functional.batch_norm(floats, zeros, ones, scale, offset, eps=0.0)

    return normalise


def architecture_config(architecture: str) -> Mapping[str, Any]:
    """Read open_clip's config of an architecture; raises ModelUnavailable."""
    config: Mapping[str, Any] | None = import_open_clip().get_model_config(architecture)
    if config is None:
        raise ModelUnavailable(f"open_clip has no architecture {architecture}")
    return config


def pretrained_entry(architecture: str, tag: str) -> Mapping[str, Any]:
    """Read open_clip's entry for published weights; raises ModelUnavailable."""
    open_clip = import_open_clip()
    entry: Mapping[str, Any] = open_clip.get_pretrained_cfg(architecture, tag)
    if not entry:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture))
        hint = f"its tags are {tags}" if tags else "nor any other weights of that architecture"
        raise ModelUnavailable(f"open_clip doesn't know {architecture}:{tag}; {hint}")
    if not entry.get("hf_hub"):
        raise ModelUnavailable(f"the weights of {architecture}:{tag} are not on the hub")
    return entry


def tokenizer_repository(config: Mapping[str, Any]) -> str | None:
    """Name the hub repository of a model's tokenizer; None where it is CLIP's own."""
    return (config.get("text_cfg") or {}).get("hf_tokenizer_name") or None


def import_open_clip() -> Any:
    """Import the module ``open_clip``; raises BackendUnavailable where it can't be imported."""
    require_backend("torch")
    try:
        _define_missing_operators()
        with no_compiler_cache(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside other people's packages
            import open_clip
    except (ImportError, RuntimeError, OSError) as error:
        raise BackendUnavailable(f"open_clip can't be imported: {one_line(error)}") from None
    return open_clip


def _tokenizer(checkpoint: Checkpoint, context: int) -> Tokenizer:
    if checkpoint.tokenizer is not None:
        return tokenizers.from_folder(checkpoint.tokenizer, checkpoint.config)
    options = (checkpoint.config.get("text_cfg") or {}).get("tokenizer_kwargs") or {}
    simple = import_open_clip().SimpleTokenizer(context_length=context, **options)

    def tokenize(texts: Any) -> Tokens:
        tokens: Tokens = simple(list(texts)).numpy()
        return tokens

    return tokenize


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
    """Tell whether torchvision's compiled operators can be loaded, as its own import will try."""
    for path in Path(origin).parent.glob("_C*"):
        if path.suffix in {".so", ".pyd", ".dylib"}:
            try:
                torch.ops.load_library(str(path))
            except OSError:
                continue
            return True
    return False
