"""Display of frames as they come: a window, or a bar on the terminal."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from hearth.watch.frames import FrameSource, SourceFrame
from hearth.watch.sinks import AnsweredFrame
from hearth.watch.window import PictureWindow

PICTURE_SECONDS = 2.0
"""Seconds that each of several pictures stays in the window, unless the user goes on."""

LATE_SECONDS = 0.5
"""Seconds by which a video's frame may be late and those behind it hurry."""

BAR_FROM = 5
"""Frames from which on a progress bar is worth its line."""

Progress = Callable[[str, int, int | None], None]
"""Callable with the source's name, how many frames are done, and how many there are."""

SPAN = 30
"""Frames over which the rate is taken."""


class FrameCounter:
    """Counter of frames, and of how fast they come."""

    def __init__(self) -> None:
        self.answered = self.failed = 0
        self.refused = 0
        """Number of frames that the node dropped for newer ones."""
        self.skipped = 0
        """Number of frames that newer ones overtook before they could be sent."""
        self._began: float | None = None
        self._last = 0.0
        self._times: deque[float] = deque(maxlen=SPAN)

    def answer(self) -> None:
        """Count a frame that was answered and shown."""
        now = time.monotonic()
        if self._began is None:
            self._began = now
        self._last = now
        self._times.append(now)
        self.answered += 1

    @property
    def dropped(self) -> int:
        """Frames of a live source that weren't looked at."""
        return self.refused + self.skipped

    @property
    def rate(self) -> float:
        """Frames a second of late; 0 where there is too little to tell."""
        return _rate(len(self._times), self._times[-1] - self._times[0]) if self._times else 0.0

    @property
    def seconds(self) -> float:
        """Seconds between the first answer and the last."""
        return 0.0 if self._began is None else self._last - self._began

    def summary(self) -> str:
        """Return one line: what became of the frames, at which rate."""
        rate = _rate(self.answered, self.seconds)
        parts = [f"{self.answered} frame{'' if self.answered == 1 else 's'}"]
        parts += [f"{rate:.1f} a second"] if rate else []
        parts += [f"{self.dropped} dropped"] if self.dropped else []
        parts += [f"{self.failed} failed"] if self.failed else []
        return ", ".join(parts)


def _rate(count: int, seconds: float) -> float:
    return (count - 1) / seconds if count > 1 and seconds > 0 else 0.0


class Display:
    """View of frames in their order, at a video's own pace where there is a window."""

    def __init__(
        self,
        source: FrameSource,
        counter: FrameCounter,
        window: PictureWindow | None,
        task: str,
        *,
        progress: Progress = lambda what, done, total: None,
        note: Callable[[str], None] = lambda line: None,
        picture_seconds: float = PICTURE_SECONDS,
    ) -> None:
        """``progress`` is told of frames where there is no window, ``note`` of troubles."""
        self.window = window
        self._source, self._counter, self._task = source, counter, task
        self._progress, self._note = progress, note
        self._picture_seconds = picture_seconds
        self._began: float | None = None
        self._trouble = ""

    async def show(self, seen: AnsweredFrame, picture: bytes | None) -> None:
        """Show a frame (``picture`` is the window's own form of it), for as long as it is due."""
        done, total = seen.frame.number + 1, self._source.total
        if self.window is None:
            if total is not None and total >= BAR_FROM:
                self._progress(self._source.name, done, total)
            return
        if picture is None or not isinstance(seen.frame, SourceFrame):
            return
        await self._wait_until_due(seen.frame)
        self.window.show(picture, self._title(seen.frame))
        if self._source.stills and done != total:
            await self.window.stay(self._picture_seconds)

    def note(self, where: str, trouble: str) -> None:
        """Tell of a frame's trouble (empty: none), once for as long as it lasts."""
        if trouble and trouble != self._trouble:
            self._note(f"{where}: {trouble}")
        self._trouble = trouble

    async def _wait_until_due(self, frame: SourceFrame) -> None:
        if self._source.stills or self._source.live:
            return
        now = asyncio.get_running_loop().time()
        # What is later than that isn't made up for: the rest goes on from there.
        if self._began is None or now > self._began + frame.moment + LATE_SECONDS:
            self._began = now - frame.moment
        await asyncio.sleep(max(0.0, self._began + frame.moment - now))

    def _title(self, frame: SourceFrame) -> str:
        total, counter = self._source.total, self._counter
        parts = [f"{frame.number + 1}/{total}"] if total else []
        parts += [frame.name] if frame.name and frame.name != self._source.name else []
        if counter.rate and not self._source.stills:
            parts.append(f"{counter.rate:.1f} frames/s")
        parts += [f"{counter.dropped} dropped"] if counter.dropped else []
        return " · ".join([self._task, self._source.name, *parts])
