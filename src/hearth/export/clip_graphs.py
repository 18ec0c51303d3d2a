"""Make ONNX files of an open_clip model, and prove them against torch."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hearth.errors import (
    BackendUnavailable,
    ModelUnavailable,
    SettingsError,
    how_to_install,
    one_line,
)
from hearth.export.clip_folder import ExportOptions, write_about
from hearth.export.clip_proof import SAMPLE_TEXTS, compare
from hearth.export.clip_tokenizer import write_tokenizer
from hearth.families.clip import files as onnx_files
from hearth.families.clip import openclip
from hearth.families.clip.openclip import Checkpoint, OpenClip
from hearth.families.clip.tokenizer import (
    JsonTokenizer,
    byte_pair_tokenizer,
    from_folder,
    tokenizer_settings,
)
from hearth.families.clip.weights import OpenClipModel
from hearth.hub import atomic
from hearth.hub.progress import Progress
from hearth.hub.reference import ModelReference, parse
from hearth.hub.store import HubStore

OPSET = 17
"""Version of the operators that is understood by every ONNX Runtime since 1.14; the exporter needs
a tenth of the time that the newer one takes."""

LEAST_COSINE = 0.999
"""Cosine below which an export is refused: fp32 graphs come to 0.999999."""

IMAGE_INPUT = "image"
"""The image graph's input: float32 (batch, 3, height, width), normalised."""


class ExportReport(NamedTuple):
    """Report on an export: its files, and how near it is to torch."""

    folder: Path
    model_id: str
    """Name under which a node serves it: ``hearth serve`` with ``clip.model`` set to it."""
    dim: int
    image_size: tuple[int, int]
    """Height and width in pixels."""
    context: int
    """Tokens in a text."""
    logit_scale: float
    image_cosine: float
    """The smallest cosine between ONNX Runtime's vectors and torch's, over all samples."""
    text_cosine: float


def export_model(name: str, options: ExportOptions) -> ExportReport:
    """Export an open_clip model as two ONNX graphs with a dynamic batch axis.

    ``name`` is ARCH:TAG, ORG/NAME of the hub, or a local folder as open_clip publishes
    it; with ``options.checkpoint`` it is one of open_clip's architectures (ARCH, or ARCH:TAG
    to choose the name that the model gets). Missing files are downloaded.

    The folder appears whole or not at all, and only after ONNX Runtime's vectors were
    compared with torch's; ``options.force`` keeps it even if they differ. Blocking. Raises
    BackendUnavailable where the packages aren't installed, ModelUnavailable for anything
    wrong with the model, SettingsError for a name that can't be meant.
    """
    _require_packages()
    progress = options.progress
    progress("loading the model", 0, 5)
    if options.checkpoint is not None:
        reference, source = _local(name, options.checkpoint)
    else:
        reference = parse(name)
        source = _fetched(reference, options.hub(), progress)
    folder = options.folder(reference)  # told before gigabytes are read
    model = openclip.load(source)
    with atomic.atomic_folder(folder) as work:
        _write(work, source, model, progress)
        progress("comparing with torch", 3, 5)
        image, text = _proved(name, work, model, options)
        report = ExportReport(
            folder,
            reference.model_id,
            model.dim,
            (model.transform.height, model.transform.width),
            model.context,
            model.logit_scale,
            image,
            text,
        )
        metadata = {"reference": reference.full_name, **_about(report, model, source)}
        if options.checkpoint is not None:
            metadata["checkpoint"] = str(options.checkpoint.resolve())
        write_about(work, metadata, "open-clip-torch", "torch", "onnx")
        progress("moving the files into place", 4, 5)
    progress("done", 5, 5)
    return report


def _proved(
    name: str, folder: Path, model: OpenClip, options: ExportOptions
) -> tuple[float, float]:
    """Return the cosines of images and texts; raises ModelUnavailable where they don't do."""
    image, text = compare(folder, model)
    if min(image, text) < LEAST_COSINE and not options.force:
        raise ModelUnavailable(
            f"the export of {name} differs from torch: cosine {image:.6f} for images, "
            f"{text:.6f} for texts, at least {LEAST_COSINE} is needed"
        )
    return image, text


def _require_packages() -> None:
    openclip.import_open_clip()
    try:
        import onnx  # noqa: F401  the exporter needs it
    except ImportError:
        raise BackendUnavailable(f"onnx isn't installed: {how_to_install('export')}") from None


def _local(name: str, weights: Path) -> tuple[ModelReference, Checkpoint]:
    """Take an architecture with a local file of weights, and the name that it gets."""
    if not weights.is_file():
        raise ModelUnavailable(f"no such file: {weights}")
    architecture, _, tag = name.partition(":")
    reference = parse(f"{architecture}:{tag or weights.stem}")
    if reference.architecture is None:
        raise SettingsError(f"{name!r} is no architecture of open_clip")
    return reference, Checkpoint.of_architecture(reference.architecture, weights)


def _fetched(reference: ModelReference, hub: HubStore, progress: Progress) -> Checkpoint:
    origin = OpenClipModel(reference, hub)
    if not origin.is_local():
        origin.download(progress)
    return origin.checkpoint()


def _write(folder: Path, source: Checkpoint, model: OpenClip, progress: Progress) -> None:
    image, text = folder / onnx_files.IMAGE, folder / onnx_files.TEXT
    image.parent.mkdir(parents=True)
    text.parent.mkdir(parents=True)
    progress("writing the image graph", 1, 5)
    shape = (2, 3, model.transform.height, model.transform.width)
    _write_graph(
        image,
        model.module,
        IMAGE_INPUT,
        lambda taken: model.module.encode_image(taken, normalize=True),
        np.zeros(shape, np.float32),
    )
    atomic.write_json(image.with_name("preprocess_cfg.json"), model.preprocess)
    progress("writing the text graph", 2, 5)
    tokens = _tokens(model, SAMPLE_TEXTS[:2])
    _write_graph(
        text,
        model.module,
        "text",
        lambda taken: model.module.encode_text(taken, normalize=True),
        tokens,
    )
    _write_tokenizer(text.parent, source, model.context)
    atomic.write_json(folder / "config.json", source.config)


def _write_graph(
    path: Path, module: Any, name: str, encode: Callable[[Any], Any], sample: NDArray[Any]
) -> None:
    """Write what ``encode``, a function over ``module``'s weights, does with the sample."""
    import torch

    class Encoder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, taken: Any) -> Any:
            return encode(taken)

    fast = torch.backends.mha.get_fastpath_enabled()
    # Its fused operator can't be exported.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracing, and of the newer exporter
            torch.onnx.export(
                Encoder().eval(),
                (torch.from_numpy(sample),),
                str(path),
                input_names=[name],
                output_names=["embedding"],
                dynamic_axes={name: {0: "batch"}, "embedding": {0: "batch"}},
                opset_version=OPSET,
                dynamo=False,
            )
    except Exception as error:
        raise ModelUnavailable(f"the {name} tower can't be exported: {one_line(error)}") from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _write_tokenizer(folder: Path, source: Checkpoint, context: int) -> None:
    if source.tokenizer is not None:
        tokenizer = from_folder(source.tokenizer, source.config)
        write_tokenizer(tokenizer, tokenizer_settings(source.tokenizer), folder)
        return
    vocabulary = openclip.import_open_clip().tokenizer.default_bpe()
    options = (source.config.get("text_cfg") or {}).get("tokenizer_kwargs") or {}
    # open_clip fills a context up with id 0, which is the exclamation mark.
    tokenizer = JsonTokenizer(
        byte_pair_tokenizer(Path(vocabulary)),
        context=context,
        pad_id=0,
        how=options.get("clean") or "lower",
    )
    pad = tokenizer.library.id_to_token(0)
    settings = {"pad_token": pad, "tokenizer_class": "PreTrainedTokenizerFast"}
    write_tokenizer(tokenizer, settings, folder)


def _about(report: ExportReport, model: OpenClip, source: Checkpoint) -> Mapping[str, Any]:
    return {
        "model_id": report.model_id,
        "precision": "fp32",
        "logit_scale": model.logit_scale,
        "logit_bias": model.logit_bias,
        "embedding_dim": report.dim,
        "image_input": "float32 RGB (batch, 3, height, width), normalised",
        "image_cosine": report.image_cosine,
        "text_cosine": report.text_cosine,
        "source": source.weights.name,
        "opset": OPSET,
    }


def _tokens(model: OpenClip, texts: Sequence[str]) -> NDArray[np.int32]:
    return np.asarray(model.tokenizer(texts), np.int32)
