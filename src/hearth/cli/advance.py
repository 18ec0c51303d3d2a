"""How far many inputs have come: a bar on a terminal."""

from collections import deque
from collections.abc import Callable
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from hearth.cli.console import Text, output

LATELY = 200
"""Answers whose nodes count as in use: one that has gone is forgotten after so many more."""
UNMEASURED_RATE = "–/s"


class Advance:
    """``earlier`` of ``total`` are done already."""

    def __init__(self, console: Console, total: int, earlier: int) -> None:
        self._nodes: deque[str] = deque(maxlen=LATELY)
        self._failed = 0
        self._bar = Progress(
            _Lazily(self._in_use),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            _Lazily(self._rate),
            TimeElapsedColumn(),
            TextColumn("left", style="dim"),
            TimeRemainingColumn(),
            _Lazily(self._failures, style="red"),
            console=console,
            transient=True,
            expand=True,
            redirect_stdout=console is output(),
        )
        self._task = self._bar.add_task("", total=total, completed=earlier)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._bar.stop()

    def step(self, node: str, failed: int) -> None:
        """One more is done; ``failed`` of them so far."""
        if node:
            self._nodes.append(node)
        self._failed = failed
        self._bar.advance(self._task)

    def _in_use(self) -> str:
        count = len(set(self._nodes.copy()))
        return "asking" if not count else "1 node" if count == 1 else f"{count} nodes"

    def _rate(self) -> str:
        speed = self._bar.tasks[0].speed
        if not speed:
            return UNMEASURED_RATE
        return f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.1f}/s"

    def _failures(self) -> str:
        return f"{self._failed:,} failed" if self._failed else ""


class _Lazily(ProgressColumn):
    """Asks for its words only when the bar is drawn."""

    def __init__(self, words: Callable[[], str], style: str = "") -> None:
        super().__init__()
        self._words = words
        self._style = style

    def render(self, task: Task) -> Text:
        return Text(self._words(), style=self._style)
