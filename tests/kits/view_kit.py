"""`hearth watch` for tests: videos made of the astronaut, and pictures of what was written.

write_video(tmp_path / "clip.avi", frames(10))
read_video(tmp_path / "seen.mp4").frames      # (n, h, w, 3), RGB
"""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import skimage
from numpy.typing import NDArray

from hearth.media import encode
from lan_kit import require_tools

Pixels = NDArray[np.uint8]

ASTRONAUT = Path(skimage.__file__).parent / "data" / "astronaut.png"
RATE = 20.0


def frames(count: int) -> Iterator[Pixels]:
    """The astronaut, 320 × 288, the camera passing by: her face is in all of them."""
    whole = cv2.cvtColor(cv2.imread(str(ASTRONAUT)), cv2.COLOR_BGR2RGB)
    for at in range(count):
        left = 60 + 4 * (at % 20)
        yield np.ascontiguousarray(whole[:288, left : left + 320])


def write_video(path: Path, pictures: Sequence[Pixels]) -> Path:
    """RGB pictures as a video of RATE frames a second, hardly harmed (MJPG)."""
    height, width = pictures[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), RATE, (width, height))
    assert writer.isOpened()
    for pixels in pictures:
        writer.write(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def write_picture(path: Path, pixels: Pixels) -> Path:
    """As a PNG."""
    path.write_bytes(encode.png(pixels))
    return path


class Video(NamedTuple):
    """A video that was read."""

    frames: Pixels
    """(n, h, w, 3), RGB."""
    rate: float


def read_video(path: Path) -> Video:
    """All of a video; fails where there is none."""
    capture = cv2.VideoCapture(str(path))
    assert capture.isOpened(), f"{path} is no video"
    read = []
    while (step := capture.read())[0]:
        read.append(cv2.cvtColor(step[1], cv2.COLOR_BGR2RGB))
    rate = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return Video(np.stack(read), rate)


def read_picture(path: Path) -> Pixels:
    """RGB (h, w, 3)."""
    pixels = cv2.imread(str(path))
    assert pixels is not None, f"{path} is no picture"
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))


def changed(before: Pixels, after: Pixels, least: int = 60) -> NDArray[np.bool_]:
    """Which pixels (h, w) are of another colour."""
    difference = np.abs(before.astype(int) - after.astype(int)).max(axis=2)
    return np.asarray(difference >= least)


@contextmanager
def x_server(width: int = 800, height: int = 600) -> Iterator[str]:
    """A display of its own, without a screen behind it; its name."""
    require_tools("Xvfb")
    command = [
        str(shutil.which("Xvfb")), "-displayfd", "1", "-screen", "0", f"{width}x{height}x24",
        "-nolisten", "tcp", "-noreset",
    ]  # fmt: skip
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert server.stdout is not None
    try:
        number = server.stdout.readline().decode().strip()
        assert number, "Xvfb doesn't start"
        yield f":{number}"
    finally:
        server.terminate()
        server.wait(10)
        server.stdout.close()
