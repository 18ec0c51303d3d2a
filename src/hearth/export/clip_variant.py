"""``hearth models export --precision``: an export once more, with smaller weights."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from hearth.errors import BackendUnavailable, ModelUnavailable
from hearth.export.clip_folder import ExportOptions, write_about
from hearth.export.clip_proof import compare_folders
from hearth.export.precision import Precision, convert
from hearth.families.clip import exports
from hearth.families.clip.files import told_name
from hearth.families.clip.origins import OnnxModel, export_folder
from hearth.families.clip.settings import ClipSettings
from hearth.families.clip.variants import LEAST_COSINE, precision_of
from hearth.graphs.graph_io import load_graph, weight_files
from hearth.hub import atomic
from hearth.hub.layout import ABOUT
from hearth.hub.progress import Progress
from hearth.hub.reference import ModelReference, parse

_KEPT = ("logit_scale", "logit_bias", "embedding_dim", "image_input")


class VariantReport(NamedTuple):
    """Report on a precision: its files, and how near it is to the graphs in fp32."""

    folder: Path
    source: Path
    """The folder of the graphs in fp32."""
    model_id: str
    """Id of the model, which all its precisions share: their vectors may be compared."""
    precision: Precision
    image_cosine: float
    """The smallest cosine between vectors in both precisions, over all samples."""
    text_cosine: float
    megabytes: tuple[float, float]
    """Sizes of the graphs in fp32, and of these."""


def export_variant(name: str, precision: Precision, options: ExportOptions) -> VariantReport:
    """Write a model's ONNX graphs in another precision, and compare both.

    Made of the graphs that a node would load: an earlier export, the downloaded repository,
    a local folder. Only where none is here is one exported with torch first, as by
    ``export_model``. The folder appears whole or not at all, and only where the vectors are
    near those in fp32; ``options.force`` keeps it nevertheless, and a node then takes it only
    where it is asked for by name. Blocking. Raises BackendUnavailable, ModelUnavailable,
    SettingsError.
    """
    reference, source = _source(name, options)
    original = precision_of(source)
    if original != "fp32":
        raise ModelUnavailable(f"{source} is {original} already: name the model in fp32")
    folder = options.folder(reference, precision)
    with atomic.atomic_folder(folder) as work:
        _write(source, work, precision, options.progress)
        options.progress("comparing with fp32", 3, 4)
        image, text = compare_folders(work, source)
        near = min(image, text) >= LEAST_COSINE
        if not near and not options.force:
            raise ModelUnavailable(
                f"{name} in {precision} differs from fp32: cosine {image:.6f} for images, "
                f"{text:.6f} for texts, at least {LEAST_COSINE} is needed"
            )
        about = atomic.about(source)
        model_id = told_name(about) or reference.model_id
        sizes = _megabytes(source), _megabytes(work)
        report = VariantReport(folder, source, model_id, precision, image, text, sizes)
        metadata = {
            "reference": reference.full_name,
            "model_id": model_id,
            "precision": precision,
            **{key: about[key] for key in _KEPT if key in about},
            "image_cosine": image,
            "text_cosine": text,
            "forced": not near,
            "made_from": exports.prints(source),
        }
        write_about(work, metadata, "onnx", "onnxruntime")
    options.progress("done", 4, 4)
    return report


def _source(name: str, options: ExportOptions) -> tuple[ModelReference, Path]:
    """Return the model, and the folder of its graphs in fp32."""
    if options.checkpoint is None:
        reference = parse(name)
        export = export_folder(options.data_dir, reference)
        model = OnnxModel(reference, options.hub(), export, ClipSettings(precision="fp32"))
        if (folder := model.graphs()) is not None:
            return reference, folder
        if damaged := exports.what_is_damaged(export, reference.full_name):
            raise ModelUnavailable(damaged)  # its weights may have come from a local file
    try:
        from hearth.export.clip_graphs import export_model

        # The target is the variant's: this one goes where a node finds it. Not even force
        # makes anything of an export that is wrong.
        report = export_model(name, replace(options, target=None, force=False))
    except BackendUnavailable as error:
        raise BackendUnavailable(
            f"no ONNX files of {name} are here (`hearth models pull {name}` fetches them, where "
            f"the hub has them), and they can't be made: {error}"
        ) from error
    return (reference if options.checkpoint is None else parse(report.model_id)), report.folder


def _write(source: Path, work: Path, precision: Precision, progress: Progress) -> None:
    left_out = {Path(ABOUT)}
    for tower in exports.TOWERS:
        weights = weight_files(load_graph(source / tower))
        left_out |= {tower, *(tower.with_name(name) for name in weights)}
    for name in exports.model_files(source):
        if Path(name) not in left_out:
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, work / name)
    for step, tower in enumerate(exports.TOWERS, 1):
        progress(f"writing {tower.parent} in {precision}", step, 4)
        (work / tower).parent.mkdir(parents=True, exist_ok=True)
        convert(source / tower, work / tower, precision)


def _megabytes(folder: Path) -> float:
    return sum((folder / name).stat().st_size for name in exports.model_files(folder)) / 1e6
