"""Help pages that end with a table made by the code."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from typer.core import TyperCommand

from hearth.cli.console import output

Rows = list[tuple[str, ...]]
"""The first row is the head."""


def setting_rows() -> Rows:
    """List every setting: name, environment, default, meaning."""
    from hearth.settings import describe

    return [("setting", "environment", "default", "meaning"), *describe()]


def task_rows() -> Rows:
    """List every task: name and aliases, service, input, result, options, meaning."""
    from hearth.families.tasks import TASKS
    from hearth.tasks.options import PAGE, PRIORITY, TIMEOUT

    # Options that every task has, or every one of pictures: they aren't told anew each time.
    common = {PAGE.name, PRIORITY.name, TIMEOUT.name}
    head = ("task", "service", "takes", "gives", "options", "what it does")
    return [
        head,
        *(
            (
                ", ".join(task.names),
                task.service,
                _kinds(task.inputs),
                task.schema.name if task.schema else "each entry's own",
                ", ".join(option.name for option in task.options if option.name not in common),
                task.summary,
            )
            for task in (each.describe() for each in TASKS)
        ),
    ]


def _kinds(mimes: tuple[str, ...]) -> str:
    """Name ``image`` for all image types there are, ``text`` for texts, others as they are."""
    names = dict.fromkeys(
        mime.split("/")[0] if mime.startswith(("image/", "text/")) else mime for mime in mimes
    )
    return ", ".join(names)


class WithSettings(TyperCommand):
    """A command whose help lists every setting."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        super().format_help(ctx, formatter)
        # The environment's names follow from the settings', and would take half the width.
        rows = [(name, default, meaning) for name, _, default, meaning in setting_rows()]
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
            rows = task_rows()
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
