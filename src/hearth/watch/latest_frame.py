"""The newest frame of a live source: no backlog grows, however slow the node is."""

import asyncio
import contextlib
import threading
from typing import Self

from hearth.watch.frames import BrokenFrame, FrameSource, SourceFrame

CLOSING_SECONDS = 2.0
"""Seconds that the last frame is waited for; a stream may hang for longer."""


class LatestFrame:
    """Reader of a source on a thread of its own, which keeps the newest frame alone."""

    def __init__(self, source: FrameSource) -> None:
        self.source = source
        self.skipped = 0
        """Number of frames that were overtaken before anybody asked for them."""
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._lock = threading.Lock()
        self._frame: SourceFrame | BrokenFrame | None = None
        self._ended = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._read_all, name="source", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ended = True
        self._thread.join(CLOSING_SECONDS)

    @property
    def stopped(self) -> bool:
        """Whether the thread is done with the source."""
        return not self._thread.is_alive()

    async def next(self) -> SourceFrame | BrokenFrame | None:
        """Wait for a newer frame than the last, None at the end; raises what the source raised."""
        while True:
            self._news.clear()
            ended = self._ended  # asked first: the last frame comes before the end
            with self._lock:
                frame, self._frame = self._frame, None
            if frame is not None:
                return frame
            if self._error is not None:
                raise self._error
            if ended:
                return None
            await self._news.wait()

    def _read_all(self) -> None:
        try:
            while not self._ended and (frame := self.source.read()) is not None:
                with self._lock:
                    self.skipped += self._frame is not None
                    self._frame = frame
                self._tell()
        except Exception as error:
            self._error = error
        self._ended = True
        self._tell()

    def _tell(self) -> None:
        # The loop may have ended while we read.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._news.set)
