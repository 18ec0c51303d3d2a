"""What shells are told when Tab is pressed. It must be quick: the user waits for each."""

import importlib.util
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from typer.core import TyperGroup

import hearth

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
    return [name for name in _names() if name.startswith(incomplete)]


@lru_cache(maxsize=1)
def _names() -> Iterable[str]:
    # The module alone: its package brings gRPC, for which a shell would wait three times as long.
    file = Path(hearth.__file__).parent / "client" / "known.py"
    spec = importlib.util.spec_from_file_location("hearth.client.known", file)
    if spec is None or spec.loader is None:
        return ()
    known = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(known)
    return tuple(dict.fromkeys(name for names in known.TASKS.values() for name in names))
