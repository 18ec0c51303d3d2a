"""Help pages that end with a table made by the code."""

from typing import Any

from rich.table import Table
from typer.core import TyperCommand

from hearth.cli import tables
from hearth.cli.console import output


class WithSettings(TyperCommand):
    """A command whose help lists every setting."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        super().format_help(ctx, formatter)
        _print("Settings (--set NAME=VALUE, hearth.toml, or the environment)", tables.settings())


class WithTasks(TyperCommand):
    """A command whose help lists the tasks of this version."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        super().format_help(ctx, formatter)
        try:
            rows = tables.tasks()
        except ImportError:
            return  # a client's installation has no tasks of its own; its nodes list theirs
        _print("Tasks of hearth's own nodes", rows)


def _print(title: str, rows: tables.Rows) -> None:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 1))
    head, *body = rows
    for name in head:
        table.add_column(name, overflow="fold")
    for row in body:
        table.add_row(*row)
    output().print(table, markup=False)
