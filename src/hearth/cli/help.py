"""Help pages that end with a table made by the code."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from typer.core import TyperCommand

from hearth.cli import tables
from hearth.cli.console import output


class WithSettings(TyperCommand):
    """A command whose help lists every setting."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        super().format_help(ctx, formatter)
        # The environment's names follow from the settings', and would take half the width.
        rows = [(name, default, meaning) for name, _, default, meaning in tables.settings()]
        _print(
            "All settings: --set clip.backend=torch, or HEARTH_CLIP__BACKEND=torch in the "
            "environment, or in hearth.toml",
            rows,
        )


class WithTasks(TyperCommand):
    """A command whose help lists the tasks of this version."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        super().format_help(ctx, formatter)
        try:
            rows = tables.tasks()
        except ImportError:
            return  # a client's installation has no tasks of its own; its nodes list theirs
        _print("Tasks of hearth's own nodes", rows)


def _print(title: str, rows: Sequence[tuple[str, ...]]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 1), header_style="bold")
    head, *body = rows
    for name in head:
        table.add_column(name, overflow="fold")
    for row in body:
        table.add_row(*row)
    output().print(f" {title}\n", markup=False)
    output().print(table)
