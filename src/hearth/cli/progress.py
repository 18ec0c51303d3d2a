"""How far long work is: one view for all commands, on stderr or beside what is printed."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
)

from hearth.cli.console import Text, hint, in_words, notes, output
from hearth.hub.progress import Unit

REDRAW_SECONDS = 0.1
LINE_SECONDS = 10.0
"""Seconds between two lines where there is no terminal for a bar."""


class Words(ProgressColumn):
    """Column of words that are made of a task, and only when the bar is drawn."""

    def __init__(self, words: Callable[[Task], str], style: str = "") -> None:
        super().__init__()
        self._words = words
        self._style = style

    def render(self, task: Task) -> Text:
        return Text(self._words(task), style=self._style)


def _no_line(_: Task) -> str:
    return ""


class Columns(NamedTuple):
    """Columns of a bar, and the line in its place where there is no terminal."""

    make: Callable[[], Sequence[ProgressColumn]]
    """Columns of a bar on a terminal, made anew for each."""
    line: Callable[[Task], str] = _no_line
    """A line for where there is no terminal."""
    redraws: float = 0
    """A second, by a thread; 0: the bar is drawn when it is told something, and no thread runs."""
    expand: bool = False
    """Whether the bar takes the whole width."""


def _share(task: Task) -> str:
    return f"{100 * int(task.completed) // int(task.total)} %" if task.total else ""


def _share_line(task: Task) -> str:
    share = _share(task) if task.completed else ""
    return f"{task.description}: {share}" if share else task.description


def _transfer_line(task: Task) -> str:
    amount = f"{in_words(int(task.completed))} of {in_words(int(task.total or 0))}"
    return ", ".join(filter(None, (f"{task.description}: {amount}", _rate(task))))


def _rate(task: Task) -> str:
    """Return bytes a second since the work was first heard of, in words."""
    came = task.completed - task.fields["first"]
    return f"{in_words(int(came / task.elapsed))}/s" if came > 0 and task.elapsed else ""


def description() -> TextColumn:
    """Return a column with the name of the work."""
    return TextColumn("{task.description}", markup=False)


SHARE = Columns(lambda: (description(), BarColumn(), Words(_share)), _share_line)
TRANSFER = Columns(
    lambda: (description(), BarColumn(), DownloadColumn(), Words(_rate)), _transfer_line
)
"""Columns of downloads: bytes and their rate."""


class ProgressView:
    """Work that goes on now: one bar on a terminal, a line now and then elsewhere."""

    def __init__(
        self,
        columns: Columns = SHARE,
        *,
        of_bytes: Columns | None = None,
        console: Console | None = None,
        say: Callable[[str], None] | None = hint,
    ) -> None:
        """Show progress, with ``of_bytes`` that of bytes; ``say`` writes lines (None: nothing
        does).
        """
        self.seen: dict[str, None] = {}
        """Pieces of work that were heard of, in order."""
        self._columns = columns
        self._of_bytes = of_bytes or self._columns
        self._console = console or notes()
        self._say = say
        self._lock = threading.Lock()
        self._shown: tuple[str, Columns] | None = None
        self._next = 0.0
        self._bar: Progress | None = None
        self._is_live = False
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        with self._lock:
            self._hide()

    def progress(
        self, what: str, done: float, total: float | None, unit: Unit = "steps", **fields: Any
    ) -> None:
        """Show how far a piece of work is; from any thread. ``fields`` are for its columns."""
        columns = self._of_bytes if unit == "bytes" and total is not None else self._columns
        with self._lock:
            now = time.monotonic()
            if (what, columns) != self._shown:
                self._begin(what, columns, done, total, fields)
            elif columns.redraws:
                self._update(done, total, fields)
                return
            finished = total is not None and done >= total
            if now < self._next and not finished:
                return
            self._update(done, total, fields)
            if self._is_live:
                self._next = now + REDRAW_SECONDS
            elif self._say is not None:
                self._next = now + LINE_SECONDS
                self._say(columns.line(self._bar_of(columns).tasks[0]))
            if finished:
                self._hide()

    def _begin(
        self,
        what: str,
        columns: Columns,
        done: float,
        total: float | None,
        fields: Mapping[str, Any],
    ) -> None:
        """Take what was shown away, and make room for other work."""
        if self._shown is not None and self._shown[1] is not columns:
            self._hide()
        self._shown, self._next = (what, columns), 0.0
        self.seen[what] = None
        bar = self._bar_of(columns)
        for task in bar.task_ids:
            bar.remove_task(task)
        # What an earlier try left isn't part of this one's rate.
        known: dict[str, Any] = {"first": done, **fields}
        self._task = bar.add_task(what, total=total, completed=int(done), **known)

    def _bar_of(self, columns: Columns) -> Progress:
        if self._bar is None:
            self._bar = Progress(
                *columns.make(),
                console=self._console,
                auto_refresh=columns.redraws > 0,
                refresh_per_second=columns.redraws or 1,
                transient=True,
                expand=columns.expand,
                redirect_stdout=self._console is output(),
            )
            self._is_live = self._console.is_terminal
            if self._is_live:
                raw = sys.stderr
                self._bar.start()
                # The bar must stay below whatever is logged meanwhile.
                _move_logs(raw, sys.stderr)
        return self._bar

    def _update(self, done: float, total: float | None, fields: Mapping[str, Any]) -> None:
        assert self._bar is not None
        self._bar.update(self._task, completed=done, total=total, **fields)
        if self._is_live and not self._bar.live.auto_refresh:
            self._bar.refresh()

    def _hide(self) -> None:
        self._shown = None
        if self._bar is not None:
            if self._is_live:
                live = sys.stderr
                self._bar.stop()
                _move_logs(live, sys.stderr)
            self._bar = None


def _move_logs(before: TextIO, after: TextIO) -> None:
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is before:
            handler.setStream(after)
