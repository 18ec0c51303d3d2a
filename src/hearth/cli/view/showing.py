"""What the user sees while frames come: a window, or a bar on the terminal."""

import asyncio
from typing import Self

from hearth.cli.console import hint
from hearth.cli.progress import Bar
from hearth.cli.view.frames import Frame
from hearth.cli.view.sink import Seen
from hearth.cli.view.source import Source
from hearth.cli.view.tally import Tally
from hearth.cli.view.window import Window

PICTURE_SECONDS = 2.0
"""How long each of several pictures stays in the window, unless the user goes on."""

LATE_SECONDS = 0.5
"""By how much a video's frame may be late and those behind it hurry."""

BAR_FROM = 5
"""Frames from which on a progress bar is worth its line."""


class Showing:
    """Frames in their order, at a video's own pace where there is a window."""

    def __init__(self, source: Source, tally: Tally, window: Window | None, task: str) -> None:
        self.window = window
        self._source, self._tally, self._task = source, tally, task
        self._bar = Bar(say=lambda _: None)
        self._began: float | None = None
        self.told = ""

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._bar.__exit__(*exc_info)

    async def show(self, seen: Seen, picture: bytes | None) -> None:
        """Show a frame (``picture`` is the window's own form of it), for as long as it is due."""
        done, total = seen.frame.number + 1, self._source.total
        if self.window is None:
            if total is not None and total >= BAR_FROM:
                self._bar.progress(self._source.name, done, total)
            return
        if picture is None or not isinstance(seen.frame, Frame):
            return
        await self._wait_until_due(seen.frame)
        self.window.show(picture, self._title(seen.frame))
        if self._source.stills and done != total:
            await self.window.stay(PICTURE_SECONDS)

    def note(self, where: str, trouble: str) -> None:
        """A frame's trouble (empty: none), once for as long as it lasts."""
        if trouble and trouble != self.told:
            hint(f"{where}: {trouble}")
        self.told = trouble

    async def _wait_until_due(self, frame: Frame) -> None:
        if self._source.stills or self._source.live:
            return
        now = asyncio.get_running_loop().time()
        # What is later than that isn't made up for: the rest goes on from there.
        if self._began is None or now > self._began + frame.moment + LATE_SECONDS:
            self._began = now - frame.moment
        await asyncio.sleep(max(0.0, self._began + frame.moment - now))

    def _title(self, frame: Frame) -> str:
        total, tally = self._source.total, self._tally
        parts = [f"{frame.number + 1}/{total}"] if total else []
        parts += [frame.name] if frame.name and frame.name != self._source.name else []
        parts += [f"{tally.rate:.1f} frames/s"] if tally.rate and not self._source.stills else []
        parts += [f"{tally.dropped} dropped"] if tally.dropped else []
        return " · ".join([self._task, self._source.name, *parts])
