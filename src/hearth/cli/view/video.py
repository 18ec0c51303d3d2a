"""Drawn frames as a video."""

from pathlib import Path
from typing import Any

from hearth.cli.outfile import check_writable
from hearth.cli.view.frames import fitted
from hearth.cli.view.sink import Seen, Sink
from hearth.errors import SetupError
from hearth.media.raw import Pixels

CODECS = {".mp4": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
"""Of a video, by its ending: what every player knows and OpenCV's wheels can write."""


class VideoFile(Sink):
    """A video with all frames; those of another size are fitted into the first one's."""

    def __init__(self, path: Path, rate: float, *, live: bool) -> None:
        """A live source's frames stay for as long as it took until the next one came.

        Raises OSError where the file can't be written.
        """
        check_writable(path)
        self.place = str(path)
        self._path, self._rate, self._live = path, rate, live
        self._writer: Any = None
        self._size = (0, 0)
        self._written = 0
        self._began = 0.0
        self._last: Pixels | None = None

    def write(self, seen: Seen) -> None:
        if seen.drawn is None:
            return
        if self._writer is None:
            self._began = seen.frame.moment
            self._open(seen.drawn)
        if self._live:
            self._fill(round((seen.frame.moment - self._began) * self._rate))
        self._last = self._as_written(seen.drawn)
        if not self._live:
            self._put()

    def close(self) -> None:
        """Raises SetupError where no whole video came of it."""
        if self._writer is None:
            return
        if self._live:
            self._put()
        self._writer.release()
        self._writer = None
        if not _is_video(self._path):
            raise SetupError(f"{self._path}: no whole video came of it (is the disk full?)")

    def _open(self, pixels: Pixels) -> None:
        import cv2

        height, width = pixels.shape[:2]
        self._size = max(2, width - width % 2), max(2, height - height % 2)
        code = cv2.VideoWriter.fourcc(*CODECS[self._path.suffix.lower()])
        self._writer = cv2.VideoWriter(
            str(self._path), cv2.CAP_FFMPEG, code, self._rate, self._size
        )
        if not self._writer.isOpened():
            raise SetupError(f"{self._path}: OpenCV can't write a video there")

    def _fill(self, until: int) -> None:
        """Show the last frame until the frame of this number is due."""
        while self._last is not None and self._written < until:
            self._put()

    def _put(self) -> None:
        self._writer.write(self._last)
        self._written += 1

    def _as_written(self, pixels: Pixels) -> Pixels:
        """BGR of the video's size, with black borders where the shape is another."""
        import cv2

        width, height = self._size
        rows, columns = pixels.shape[:2]
        if (columns - columns % 2, rows - rows % 2) == self._size:
            pixels = pixels[:height, :width]
        else:
            share = min(width / columns, height / rows)
            inner = fitted(pixels, max(1, int(columns * share)), max(1, int(rows * share)))
            above, before = (height - inner.shape[0]) // 2, (width - inner.shape[1]) // 2
            pixels = cv2.copyMakeBorder(
                inner, above, height - inner.shape[0] - above,
                before, width - inner.shape[1] - before, cv2.BORDER_CONSTANT,
            )  # fmt: skip
        turned: Pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        return turned


def _is_video(path: Path) -> bool:
    import cv2

    capture = cv2.VideoCapture(str(path))
    try:
        return bool(capture.isOpened() and capture.read()[0])
    finally:
        capture.release()
