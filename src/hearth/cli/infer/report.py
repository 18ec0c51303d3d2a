"""How the outcomes of ``hearth infer`` are printed for people, and told in JSON."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from hearth.cli.console import Text, notes, output, say
from hearth.cli.infer import show
from hearth.cli.infer.inputs import LONGEST_LABEL, InferInput
from hearth.cli.progress import Columns, ProgressView, Words
from hearth.client import Answer, Outcome

BAR_FROM = 5
"""Inputs from which on a progress bar is worth its line."""
LATELY = 200
"""Answers whose nodes count as in use: one that has gone is forgotten after so many more."""
UNMEASURED_RATE = "–/s"


def _nodes_in_use(task: Task) -> str:
    count = len(set(task.fields["nodes"].copy()))
    return "asking" if not count else "1 node" if count == 1 else f"{count} nodes"


def _rate(task: Task) -> str:
    speed = task.speed
    if not speed:
        return UNMEASURED_RATE
    return f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.1f}/s"


def _failures(task: Task) -> str:
    return f"{failed:,} failed" if (failed := task.fields["failed"]) else ""


_ANSWERS = Columns(
    lambda: (
        Words(_nodes_in_use),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        Words(_rate),
        TimeElapsedColumn(),
        TextColumn("left", style="dim"),
        TimeRemainingColumn(),
        Words(_failures, style="red"),
    ),
    redraws=10,
    expand=True,
)
"""Answers of ``hearth infer``: by how many nodes, how many, how fast, and what failed."""


class Report(ABC):
    """Report that takes each answer once; an answer's index is that of its input."""

    ordered = True
    """Whether the answers are to come in the order of the inputs."""
    has_bar = True
    """Whether a progress bar may be shown."""
    place = ""
    """The file that is written, where there is one."""
    can_resume = resumed = False
    """Whether a later run can go on where this one ends; whether this one goes on itself."""
    model_id: str | None = None
    """The model whose answers fit those of an earlier run."""

    def __init__(self, inputs: Sequence[InferInput]) -> None:
        self.inputs = inputs
        self.earlier = self.done = self.failed = 0
        self.advice: dict[str, str] = {}
        """Advice by the code of an error."""
        self._stack = ExitStack()
        self._view: ProgressView | None = None
        self._nodes: deque[str] = deque(maxlen=LATELY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._stack.close()

    @property
    def total(self) -> int:
        """All inputs, those too that an earlier run has done."""
        return self.earlier + len(self.inputs)

    def begin(self) -> None:
        """Begin once a node is known: show a progress bar."""
        console = self._console()
        if self.has_bar and console.is_terminal and len(self.inputs) >= BAR_FROM:
            self._view = ProgressView(_ANSWERS, console=console)
            self._stack.enter_context(self._view)
            self._show_progress()

    def add(self, answer: Answer) -> None:
        """Count an answer, and print it; raises OSError, and HearthError where it can't be."""
        self.write(answer)
        self.done += 1
        self.failed += is_failed(answer.outcome)
        if answer.node:
            self._nodes.append(answer.node)
        self._show_progress()

    def _show_progress(self) -> None:
        if self._view is not None:
            done = self.earlier + self.done
            self._view.progress("", done, self.total, nodes=self._nodes, failed=self.failed)

    @abstractmethod
    def write(self, answer: Answer) -> None:
        """Print an answer."""

    def how_far(self) -> str:
        """Tell how much is done when a run ends before its end, and how to go on."""
        words = f"{self.earlier + self.done:,} of {self.total:,} done"
        if self.failed:
            words += f", {self.failed:,} of them failed"
        if self.can_resume and self.earlier + self.done:
            how = "the same command" if self.resumed else "the same command with --resume"
            words += f"; {how} goes on"
        return words

    def _console(self) -> Console:
        """Return where a progress bar may be: where nothing else is written past rich."""
        return notes()


class TableReport(Report):
    """Report for people: answers as they come."""

    ordered = False

    def begin(self) -> None:
        super().begin()
        longest = max(len(source.label) for source in self.inputs)
        self._width = min(longest, LONGEST_LABEL, output().width // 3)

    def write(self, answer: Answer) -> None:
        row = Table.grid(padding=(0, 2, 0, 0))
        row.add_column(width=self._width, no_wrap=True, style="bold")
        row.add_column(overflow="fold")
        label = self.inputs[answer.index].label
        if len(label) > self._width:
            label = f"…{label[1 - self._width :]}"  # the end of a path says more
        shown = show.answer(answer.outcome)
        error = answer.error
        if error is not None and isinstance(shown, Text) and error.code in self.advice:
            shown.append(f": {self.advice[error.code]}")
        row.add_row(Text(label), shown)
        output().print(row)

    def _console(self) -> Console:
        return output() if output().is_terminal else notes()


def is_failed(outcome: Outcome) -> bool:
    """Tell whether there is no answer, or a part of it isn't there."""
    return outcome.error is not None or any(
        part.error is not None for part in outcome.parts.values()
    )


def tell_errors(source: InferInput, outcome: Outcome) -> None:
    """Print errors on stderr, for people, where answers go elsewhere."""
    if outcome.error is not None:
        tell(f"{source.label}: {outcome.error}")
    for entry, part in outcome.parts.items():
        if part.error is not None:
            tell(f"{source.label}: {entry}: {part.error}")


def tell(message: str) -> None:
    """Print one error of one input."""
    say(message, "red")


def options_as_json(options: Mapping[str, str]) -> dict[str, str]:
    """Return the options of a task as a line of JSON has them: of long ones a fingerprint."""
    return {name: _short(value) for name, value in sorted(options.items())}


LONGEST_OPTION = 100
"""Characters; a picture in base64 isn't repeated in each line."""


def _short(value: str) -> str:
    if len(value) <= LONGEST_OPTION:
        return value
    import hashlib

    return f"sha256:{hashlib.sha256(value.encode()).hexdigest()}"
