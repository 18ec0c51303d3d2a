"""How the outcomes of ``hearth infer`` are printed for people, and told in JSON."""

import base64
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from hearth.cli import show
from hearth.cli.console import notes, output
from hearth.cli.inputs import LONGEST_LABEL, Input
from hearth.client import Answer, Outcome

BAR_FROM = 5
"""Inputs from which on a progress bar is worth its line."""


class Report(ABC):
    """Takes each answer once, in any order; its index is that of its input."""

    def __init__(self, inputs: Sequence[Input]) -> None:
        self.inputs = inputs
        self.done = self.failed = 0
        self._stack = ExitStack()
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._stack.close()

    def begin(self, target: str) -> None:
        """The node is known, work begins."""
        console = self._console()
        if console.is_terminal and len(self.inputs) >= BAR_FROM:
            self._bar = Progress(
                TextColumn(target),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=console,
                transient=True,
                redirect_stdout=console is output(),
            )
            self._bar.add_task(target, total=len(self.inputs))
            self._stack.enter_context(self._bar)

    def add(self, answer: Answer) -> None:
        """Print an answer, or keep it until its turn."""
        outcome = answer.outcome
        self.done += 1
        self.failed += outcome.error is not None or any(
            part.error is not None for part in outcome.parts.values()
        )
        self.write(answer)
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0])

    @abstractmethod
    def write(self, answer: Answer) -> None:
        """Print an answer, or keep it until its turn."""

    def _console(self) -> Console:
        """Where a progress bar may be: where nothing else is written past rich."""
        return output() if output().is_terminal else notes()


class TableReport(Report):
    """For people: answers as they come."""

    def begin(self, target: str) -> None:
        super().begin(target)
        longest = max(len(source.label) for source in self.inputs)
        self._width = min(longest, LONGEST_LABEL, output().width // 3)

    def write(self, answer: Answer) -> None:
        row = Table.grid(padding=(0, 2, 0, 0))
        row.add_column(width=self._width, no_wrap=True, style="bold")
        row.add_column(overflow="fold")
        label = self.inputs[answer.index].label
        if len(label) > self._width:
            label = f"…{label[1 - self._width :]}"  # the end of a path says more
        row.add_row(Text(label), show.answer(answer.outcome))
        output().print(row)


def parts_of(outcome: Outcome) -> dict[str, Any]:
    """What became of the entries of a composed request, by their ids."""
    return {entry: told(part) for entry, part in outcome.parts.items()}


def told(outcome: Outcome) -> dict[str, Any]:
    return {
        "result": _result(outcome),
        "error": _error(outcome),
        "meta": dict(outcome.meta),
    }


def _result(outcome: Outcome) -> Any:
    if outcome.error is not None or outcome.parts:
        return None
    if outcome.is_json:
        try:
            return outcome.json()
        except ValueError:
            pass  # shown as what it is: bytes
    return {"mime": outcome.mime, "base64": base64.b64encode(outcome.body).decode()}


def _error(outcome: Outcome) -> dict[str, str] | None:
    if outcome.error is None:
        return None
    return {"code": outcome.error.code, "message": outcome.error.message}
