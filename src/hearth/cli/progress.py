"""Long work of a node or an export, shown on stderr."""

import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Self, TextIO

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from hearth.cli.console import hint, notes
from hearth.hub.progress import Unit

REDRAW_SECONDS = 0.1
LINE_SECONDS = 10.0
"""Between two lines where there is no terminal for a bar."""


class Bar:
    """The work that goes on now: one bar on a terminal, a line now and then elsewhere.

    ``say`` writes such a line. Nothing runs between two reports: an idle node costs nothing.
    """

    def __init__(self, say: Callable[[str], None] = hint) -> None:
        self._say = say
        self._console = notes()
        self._lock = threading.Lock()
        self._what = ""
        self._next = 0.0
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        with self._lock:
            self._hide()

    def progress(self, what: str, done: int, total: int | None, unit: Unit = "steps") -> None:
        """Show how far a piece of work is; from any thread."""
        with self._lock:
            finished = total is not None and done >= total
            now = time.monotonic()
            if what == self._what and now < self._next and not finished:
                return
            new, self._what = what != self._what, what
            if self._console.is_terminal:
                self._next = now + REDRAW_SECONDS
                self._draw(what, done, total, new)
                if finished:
                    self._hide()
            else:
                self._next = now + LINE_SECONDS
                self._say(_line(what, done, total))

    def _draw(self, what: str, done: int, total: int | None, new: bool) -> None:
        if self._bar is None:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.fields[share]}"),
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
            )
            raw = sys.stderr
            self._bar.start()
            # The bar must stay below whatever is logged meanwhile.
            _move_logs(raw, sys.stderr)
            new = True
        if new:
            for task in self._bar.task_ids:
                self._bar.remove_task(task)
            self._task = self._bar.add_task(what, total=None, share="")
        share = f"{100 * done // total} %" if total else ""
        self._bar.update(self._task, completed=done, total=total, share=share, refresh=True)

    def _hide(self) -> None:
        if self._bar is not None:
            live = sys.stderr
            self._bar.stop()
            _move_logs(live, sys.stderr)
            self._bar = None
            self._what = ""


def _line(what: str, done: int, total: int | None) -> str:
    return f"{what}: {100 * done // total} %" if total and done else what


def _move_logs(before: TextIO, after: TextIO) -> None:
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is before:
            handler.setStream(after)
