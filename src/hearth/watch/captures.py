"""Sources that OpenCV reads: cameras, video files, streams."""

import contextlib
import math
import time
from pathlib import Path
from typing import Any

from hearth.errors import SetupError
from hearth.watch.frames import FrameSource, SourceFrame

PATIENCE_MS = 10_000
"""Milliseconds that a stream may take to answer, and to send a frame."""

LIKELY_RATE = 30.0
"""Frames a second, where a source doesn't say."""

_FASTEST = 1000.0
"""A rate above this is a unit of time, and no rate."""


class CaptureSource(FrameSource):
    """Source of the frames of a ``cv2.VideoCapture``, which it closes in the end."""

    def __init__(self, capture: Any, name: str, *, live: bool) -> None:
        """Read the first frame; raises SetupError where there is none."""
        import cv2

        self._cv2 = cv2
        self._capture = capture
        self.name, self.live = name, live
        rate = capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate <= _FASTEST else None
        if not live:
            count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
            self.total = int(count) if count > 0 else None
        self._number = 0
        self._moment = -math.inf
        self._began = time.monotonic()
        self._first = self._next()
        if self._first is None:
            capture.release()
            raise SetupError(f"{name}: no frame comes from it")

    def read(self) -> SourceFrame | None:
        frame, self._first = self._first, None
        return frame or self._next()

    def close(self) -> None:
        self._capture.release()

    def _next(self) -> SourceFrame | None:
        done, pixels = self._capture.read()
        if not done:
            return None
        self._moment = max(self._time(), self._moment + 0.001)
        number, self._number = self._number, self._number + 1
        return SourceFrame(
            number, self._moment, self._cv2.cvtColor(pixels, self._cv2.COLOR_BGR2RGB)
        )

    def _time(self) -> float:
        """Return when the frame was taken, or is to be shown, in seconds from the beginning."""
        if self.live:
            return time.monotonic() - self._began
        stated = float(self._capture.get(self._cv2.CAP_PROP_POS_MSEC)) / 1000
        # Files without times of their own tell 0 for every frame.
        return stated if stated > self._moment else self._number / (self.rate or LIKELY_RATE)


def camera(which: int | str) -> CaptureSource:
    """Open a camera by its number or device; raises SetupError."""
    import cv2

    name = f"camera {which}" if isinstance(which, int) else which
    capture = _opened(which) if isinstance(which, int) else _opened(which, cv2.CAP_V4L2)
    if not capture.isOpened():
        raise SetupError(f"{name}: {_why_not(which)}")
    # Frames that a driver keeps for later are old when they come.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return CaptureSource(capture, name, live=True)


def _why_not(which: int | str) -> str:
    device = Path(f"/dev/video{which}") if isinstance(which, int) else Path(which)
    if device.exists():
        return "it can't be opened: another program may use it, or it is no camera"
    others = sorted(path.name for path in Path("/dev").glob("video[0-9]*"))
    return "there is no such camera" + (f"; there is: {', '.join(others)}" if others else "")


def video(path: Path) -> CaptureSource:
    """Open a video file; raises SetupError."""
    capture = _opened(str(path))
    if capture.isOpened():
        # OpenCV opens whatever has a picture's name, and then reads nothing.
        with contextlib.suppress(SetupError):
            return CaptureSource(capture, path.name, live=False)
    raise SetupError(f"{path}: neither a video nor a picture")


def stream(url: str) -> CaptureSource:
    """Open a video at an address: live, unless it tells how many frames it has.

    Raises SetupError.
    """
    import cv2

    name = without_secrets(url)
    limits = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
    patience = [value for limit in limits for value in (limit, PATIENCE_MS)]
    capture = _opened(url, cv2.CAP_FFMPEG, patience)
    if not capture.isOpened():
        raise SetupError(f"{name}: no video can be had there")
    return CaptureSource(capture, name, live=capture.get(cv2.CAP_PROP_FRAME_COUNT) <= 0)


def without_secrets(url: str) -> str:
    """Return an address without a user's name and password, to be shown."""
    scheme, mark, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}{mark}{place.rpartition('@')[2]}{slash}{path}"


def _opened(which: int | str, *how: Any) -> Any:
    import cv2

    return cv2.VideoCapture(which, *how)
