"""Downloads as they come: bytes and their rate, on stderr."""

import threading
import time
from typing import Any, Self

from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

from hearth.cli.console import hint, notes
from hearth.cli.models.inventory import in_words
from hearth.cli.progress import LINE_SECONDS, REDRAW_SECONDS, Bar
from hearth.hub.progress import Unit


class Transfers:
    """What is being fetched: one bar on a terminal, a line now and then elsewhere.

    Work that isn't counted in bytes is shown as by ``Bar``.
    """

    def __init__(self) -> None:
        self.seen: dict[str, None] = {}
        """What was heard of, in order."""
        self._lock = threading.Lock()
        self._other = Bar()
        self._name = ""
        self._began = (0, 0.0)
        self._next = 0.0
        self._live: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        with self._lock:
            self._hide()
        self._other.__exit__(*exc_info)

    def progress(self, what: str, done: int, total: int | None, unit: Unit = "steps") -> None:
        """Show how far a download is; from any thread."""
        with self._lock:
            if total is None or unit != "bytes":
                self._hide()
                self._other.progress(what, done, total)
                return
            now = time.monotonic()
            is_new = what != self._name
            if is_new:
                self._hide()
                self._other.__exit__()
                # What an earlier try left isn't part of this one's rate.
                self._name, self._began = what, (done, now)
                self.seen[what] = None
            finished = done >= total
            if now >= self._next or is_new or finished:
                self._show(done, total, now, is_new)
            if finished:
                self._hide()

    def _show(self, done: int, total: int, now: float, is_new: bool) -> None:
        if not notes().is_terminal:
            self._next = now + LINE_SECONDS
            rate = self._rate(done, now)
            amount = f"{in_words(done)} of {in_words(total)}"
            hint(f"{self._name}: {amount}{', ' if rate else ''}{rate}")
            return
        self._next = now + REDRAW_SECONDS
        if is_new or self._live is None:
            self._live = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                DownloadColumn(),
                TextColumn("{task.fields[rate]}"),
                console=notes(),
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
            )
            self._live.start()
            self._task = self._live.add_task(self._name, total=total, rate="")
        rate = self._rate(done, now)
        self._live.update(self._task, completed=done, rate=rate, refresh=True)

    def _rate(self, done: int, now: float) -> str:
        before, began = self._began
        if done <= before or now <= began:
            return ""
        return f"{in_words(int((done - before) / (now - began)))}/s"

    def _hide(self) -> None:
        self._name = ""
        if self._live is not None:
            self._live.stop()
            self._live = None
