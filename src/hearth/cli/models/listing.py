"""``hearth models list``: what is configured, and what is here."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from hearth.cli.options import Config, DataDir, Others, settings_of

if TYPE_CHECKING:
    from rich.table import Table

    from hearth.cli.models.configured import Configured
    from hearth.hub.model_files import ModelFiles


def list_models(
    config: Config = None,
    data_dir: DataDir = None,
    others: Others = None,
    json: Annotated[bool, typer.Option("--json", help="A line of JSON for each.")] = False,
) -> int:
    """List the models that are configured, and all model files that are here."""
    from hearth.cli.console import hint, output, print_json
    from hearth.cli.exit_codes import OK
    from hearth.cli.models.configured import configured
    from hearth.cli.models.words import files_as_json
    from hearth.families.inventory import inventory_of

    settings = settings_of(config, data_dir, others)
    found = inventory_of(settings.data_dir).files()
    models = list(configured(settings, found))
    if json:
        for line in [
            *(row.to_json() for row in models),
            *(files_as_json(files) for files in found),
        ]:
            print_json(line)
        return OK
    output().print(_of_services(models))
    if found:
        output().print()
        output().print(_of_files(found))
    else:
        hint(f"no model files in {settings.data_dir} yet")
    return OK


def _of_services(models: "Sequence[Configured]") -> "Table":
    from hearth.cli.console import Text, in_words

    table = _table("SERVICE", "MODEL", "PRECISION", "SIZE", "STATE")
    for row in models:
        state = Text(row.state, style="green" if row.state == "here" else "yellow")
        for more in filter(None, (row.why, row.where)):
            state.append(f"\n{more}", style="dim")
        size = "" if row.size is None else in_words(row.size)
        table.add_row(Text(row.service), Text(row.model), row.precision, size, state)
    return table


def _of_files(found: "Sequence[ModelFiles]") -> "Table":
    from hearth.cli.console import Text, in_words
    from hearth.cli.models.words import note_on

    table = _table("FILES", "MODEL", "PRECISION", "SIZE", "STATE", "PATH")
    for files in found:
        state = Text(
            str(files.condition), style="green" if files.condition == "whole" else "yellow"
        )
        if note := note_on(files):
            state.append(f"\n{note}", style="dim")
        table.add_row(
            str(files.kind),
            Text(files.model),
            Text(files.precision),
            in_words(files.size),
            state,
            Text(str(files.path), style="dim"),
        )
    return table


def _table(*heads: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for head in heads:
        table.add_column(head, overflow="fold", justify="right" if head == "SIZE" else "left")
    return table
