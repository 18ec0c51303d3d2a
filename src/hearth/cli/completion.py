"""What shells are told when Tab is pressed. It must be quick: the user waits for each."""

import os
from typing import Any

from typer.core import TyperGroup

from hearth.known import TASKS

VARIABLE = "_HEARTH_COMPLETE"
"""Of the environment, by which a shell asks; Typer makes it of the program's name."""
ONE_LINE = "10000"
"""Columns in which no help of an option is broken: each line is a word to fish and zsh."""


class WithCompletion(TyperGroup):
    """The commands, completed in lines that aren't broken."""

    def main(self, *arguments: Any, **how: Any) -> Any:
        """As usual, but for the width of what a shell is told."""
        if VARIABLE in os.environ:
            os.environ["COLUMNS"] = ONE_LINE
        return super().main(*arguments, **how)


def tasks(incomplete: str) -> list[str]:
    """The names of hearth's own tasks that begin so."""
    names = dict.fromkeys(name for each in TASKS.values() for name in each)
    return [name for name in names if name.startswith(incomplete)]
