"""``hearth models export``: ONNX files of an open_clip model, in one precision or another."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hearth.cli.options import Config, DataDir, settings_of

if TYPE_CHECKING:
    from hearth.export.clip_folder import ExportOptions


def export(  # noqa: PLR0917
    name: Annotated[str, typer.Argument(help="ARCH:TAG, ORG/NAME, a folder; or ARCH, see below.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="A local file of weights; NAME is its architecture then.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write; else where a node finds it.")
    ] = None,
    precision: Annotated[
        Literal["fp32", "fp16", "int8"],
        typer.Option(help="fp16 (for a GPU) and int8 (for a CPU) are made of ONNX files in fp32."),
    ] = "fp32",
    force: Annotated[
        bool, typer.Option("--force", help="Keep the files even if they differ from the original.")
    ] = False,
    config: Config = None,
    data_dir: DataDir = None,
) -> int:
    """Write a model as ONNX files, and compare them with the original before saying done.

    In fp32 the original is open_clip's, and torch is needed. In another precision it is the
    ONNX files in fp32: those that a node would load, or, where none are here, an export.
    """
    from hearth.cli.console import output
    from hearth.cli.exit_codes import OK
    from hearth.cli.models.did_you_mean import model_of
    from hearth.cli.progress import ProgressView
    from hearth.settings import Settings

    settings = settings_of(config, data_dir)
    if checkpoint is None:
        # A name that can't be meant is told before torch is imported.
        name = model_of(settings, name)
    with ProgressView() as bar, _needed_packages():
        from hearth.export.clip_folder import ExportOptions

        options = ExportOptions(
            data_dir=settings.data_dir,
            checkpoint=checkpoint,
            target=out,
            endpoint=settings.hub.endpoint,
            offline=settings.hub.offline,
            force=force,
            progress=bar.progress,
        )
        if precision == "fp32":
            folder, model_id, lines = _exported(name, options)
        else:
            folder, model_id, lines = _converted(name, precision, options)
    if out is not None:
        use = _set_to(str(folder.resolve()))
    elif precision == "fp32":
        use = _set_to(model_id if checkpoint else name)
    else:
        use = _use_of_variant(folder, precision)
    if out is None and settings.data_dir != Settings().data_dir:
        use += f" (data_dir = {settings.data_dir})"
    lines += [f"written to {folder}", use]
    output().print("\n".join(lines), markup=False, soft_wrap=True)
    return OK


def _exported(name: str, options: "ExportOptions") -> tuple[Path, str, list[str]]:
    """Make files in fp32: the folder, the model id, and what there is to say."""
    from hearth.export.clip_graphs import export_model

    report = export_model(name, options)
    height, width = report.image_size
    return (
        report.folder,
        report.model_id,
        [
            f"cosine to torch, the least of all samples: images {report.image_cosine:.6f}, "
            f"texts {report.text_cosine:.6f}",
            f"{report.model_id}: {report.dim} numbers, images of {width}×{height} pixels, "
            f"{report.context} tokens",
        ],
    )


def _converted(
    name: str, precision: Literal["fp16", "int8"], options: "ExportOptions"
) -> tuple[Path, str, list[str]]:
    """Make files in another precision: the folder, the model id, and what there is to say."""
    from hearth.export.clip_variant import export_variant

    report = export_variant(name, precision, options)
    before, after = report.megabytes
    return (
        report.folder,
        report.model_id,
        [
            f"cosine to fp32, the least of all samples: images {report.image_cosine:.6f}, "
            f"texts {report.text_cosine:.6f}",
            f"{report.model_id} in {precision}: {after:,.1f} MB instead of {before:,.1f} MB, "
            f"made of {report.source}",
        ],
    )


def _set_to(name: str) -> str:
    return f"use it: set clip.model, bioclip.model or siglip.model to {name}"


def _use_of_variant(folder: Path, precision: str) -> str:
    """Tell how a node comes to take a variant that lies beside the export in fp32."""
    from hearth.hub.atomic import about

    if about(folder).get("forced"):
        return f"use it: set the service's precision to {precision}, for auto leaves what differs"
    device = "a CPU" if precision == "int8" else "a GPU"
    return f"a node takes it by itself on {device} (precision auto)"


@contextmanager
def _needed_packages() -> Iterator[None]:
    from hearth.errors import BackendUnavailable, how_to_install

    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "hearth":
            raise
        raise BackendUnavailable(
            f"exporting needs more than this ({error.name} is missing): {how_to_install('export')}"
        ) from None
