"""``hearth doctor``: what works here, and what to do about the rest."""

from typing import TYPE_CHECKING, Annotated

import typer

from hearth.cli.options import Config, DataDir, Others, settings_of

if TYPE_CHECKING:
    from hearth.cli.checks import Check


def doctor(
    config: Config = None,
    data_dir: DataDir = None,
    others: Others = None,
    json: Annotated[bool, typer.Option("--json", help="A line of JSON for each check.")] = False,
) -> int:
    """Say which engines, devices, models and services can be used here, and what to install.

    The exit code is 1 where something that is configured can't work.
    """
    from hearth.cli.checks import State, everything
    from hearth.cli.console import output, print_json
    from hearth.cli.exit_codes import FAILURE, OK

    settings = settings_of(config, data_dir, others)
    bad = 0
    area = ""
    for check in everything(settings):
        bad += check.state is State.BAD
        if json:
            print_json({**check._asdict(), "state": str(check.state)})
            continue
        if check.area != area:
            area = check.area
            output().print(f"\n{area}" if area != "machine" else area, style="bold")
        _print(check)
    return FAILURE if bad else OK


def _print(check: "Check") -> None:
    from rich.table import Table

    from hearth.cli.console import Text, output

    mark, colour = _MARKS[check.state]
    row = Table.grid(padding=(0, 1, 0, 0))
    row.add_column(width=2, justify="right")
    row.add_column(width=9, no_wrap=True)
    row.add_column(overflow="fold")
    what = Text(check.what)
    if check.cure:
        what.append(f"\n→ {check.cure}", style="bold" if check.state == "bad" else "dim")
    row.add_row(Text(mark, style=colour), check.name, what)
    output().print(row)


_MARKS = {"ok": ("✓", "green"), "note": ("–", "yellow"), "bad": ("✗", "red")}
