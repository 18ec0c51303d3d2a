"""``hearth models``: what is here, and making ONNX files of a model."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hearth.settings import Settings

app = typer.Typer(
    help="The node's model files: list them, or make ONNX files.", no_args_is_help=True
)

Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="A settings file; else ./hearth.toml.")
]
DataDir = Annotated[Path | None, typer.Option(help="The node's data folder.")]


@app.command("list")
def list_models(
    config: Config = None,
    data_dir: DataDir = None,
    json: Annotated[bool, typer.Option("--json", help="A line of JSON for each.")] = False,
) -> int:
    """List the models that are configured, and the files that are here."""
    from hearth.cli import OK
    from hearth.cli.console import print_json
    from hearth.settings import load

    settings = load({"data_dir": data_dir}, config=config)
    rows = [*_configured(settings), *_files(settings.data_dir)]
    if json:
        for row in rows:
            print_json(row)
    else:
        _print_table(rows)
    return OK


@app.command("export")
def export(  # noqa: PLR0917
    name: Annotated[str, typer.Argument(help="ARCH:TAG, ORG/NAME, a folder; or ARCH, see below.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="A local file of weights; NAME is its architecture then.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write; else where a node finds it.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Keep the files even if they differ from torch.")
    ] = False,
    config: Config = None,
    data_dir: DataDir = None,
) -> int:
    """Write an open_clip model as ONNX files, and compare them with torch before saying done."""
    from hearth.cli import OK
    from hearth.cli.console import output
    from hearth.cli.progress import Bar
    from hearth.errors import BackendUnavailable
    from hearth.settings import Settings, load

    settings = load({"data_dir": data_dir}, config=config)
    try:
        from hearth.hub.reference import parse
        from hearth.models.clip.export import export_model
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "hearth":
            raise
        raise BackendUnavailable(
            f"exporting needs more than this ({error.name} is missing): "
            "pip install 'hearth[export]'"
        ) from None
    if checkpoint is None:
        parse(name)  # a name that can't be meant is told before torch is imported
    with Bar() as bar:
        report = export_model(
            name,
            data_dir=settings.data_dir,
            checkpoint=checkpoint,
            target=out,
            endpoint=settings.hub.endpoint,
            offline=settings.hub.offline,
            force=force,
            progress=bar.progress,
        )
    # By its name where `hearth serve` finds it by itself: in the default data folder.
    named = out is None and settings.data_dir == Settings().data_dir
    served = (report.model_id if checkpoint else name) if named else report.folder.resolve()
    output().print(
        f"cosine to torch, the least of all samples: images {report.image_cosine:.6f}, "
        f"texts {report.text_cosine:.6f}\n"
        f"{report.model_id}: {report.dim} numbers, images of "
        f"{report.image_size[1]}×{report.image_size[0]} pixels, {report.context} tokens\n"
        f"written to {report.folder}\n"
        f"serve it: hearth serve --model {served}",
        markup=False,
        soft_wrap=True,
    )
    return OK


Row = dict[str, Any]


def _configured(settings: "Settings") -> Iterator[Row]:
    """Every service's model, and whether it could be loaded now."""
    from hearth.cli.checks import INSTALL_SERVER, has_server
    from hearth.errors import HearthError

    for name in dict.fromkeys(settings.services):
        model = settings.clip.model if name == "clip" else "built in"
        row: Row = {"kind": "configured", "service": name, "model": model}
        if not has_server():
            yield {**row, "state": f"a node's packages aren't installed: {INSTALL_SERVER}"}
            continue
        from hearth.wiring import sources_of

        try:
            (source,) = sources_of(settings.model_copy(update={"services": (name,)}))
            state = "here" if source.is_local() else "not here yet: downloaded at the next start"
        except HearthError as error:
            state = str(error)
        yield {**row, "state": state}


def _files(data_dir: Path) -> Iterator[Row]:
    """What lies in the data folder: downloads, exports, label vectors."""
    places = (("download", "hub/*"), ("export", "exports/*"), ("label vectors", "clip/*/*"))
    for kind, pattern in places:
        for folder in sorted(data_dir.glob(pattern)):
            if folder.is_dir() and not folder.name.startswith("."):
                size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
                model = folder.name.replace("--", "/", 1) if kind == "download" else folder.name
                yield {"kind": kind, "model": model, "path": str(folder), "bytes": size}


def _print_table(rows: list[Row]) -> None:
    from rich.table import Table
    from rich.text import Text

    from hearth.cli.console import hint, output

    configured = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for head in ("SERVICE", "MODEL", "STATE"):
        configured.add_column(head, overflow="fold")
    files = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for head in ("FILES", "MODEL", "SIZE", "PATH"):
        files.add_column(head, overflow="fold", justify="right" if head == "SIZE" else "left")
    for row in rows:
        if row["kind"] == "configured":
            configured.add_row(row["service"], Text(row["model"]), Text(row["state"]))
        else:
            size = f"{row['bytes'] / 1e6:,.1f} MB"
            files.add_row(row["kind"], Text(row["model"]), size, Text(row["path"]))
    output().print(configured)
    if files.row_count:
        output().print()
        output().print(files)
    else:
        hint("no files in the data folder yet")
