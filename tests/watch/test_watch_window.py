"""`hearth watch` in a window and of the screen, on a display of its own (Xvfb)."""

import asyncio
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from PIL import ImageGrab

from cli_kit import HEARTH, environment
from client_kit import Requests, ScriptedNode, echo, serving
from hearth.cli.watch import run
from hearth.contract import ml_service_pb2 as pb
from hearth.watch.display import Display, FrameCounter
from hearth.watch.run import WatchArguments, WatchRun
from hearth.watch.sinks import open_out
from hearth.watch.sources import PictureSource, open_source
from lan_kit import require
from view_kit import ASTRONAUT, Pixels, frames, read_video, write_picture, x_server

try:
    import tkinter
except ImportError:
    tkinter = None  # type: ignore[assignment]

BOX = (60, 40, 260, 240)
GREEN = (60, 220, 110)


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """A display of 800 × 600 pixels."""
    require(tkinter, "a Python with tkinter")
    with x_server() as name:
        yield name


@asynccontextmanager
async def node() -> AsyncIterator[str]:
    """A node that finds a face at BOX in every picture."""
    face = {"bbox": BOX, "confidence": 0.9, "landmarks": []}
    body = orjson.dumps({"faces": [face], "count": 1})

    async def infer(requests: Requests, _: object) -> AsyncIterator[pb.InferResponse]:
        async for request in requests:
            yield echo(request, result=body, result_mime="application/json;schema=face_v1")

    task = pb.IOTask(name="look", input_mimes=["image/jpeg", "image/png"])
    capability = pb.Capability(service_name="any", tasks=[task], protocol_version="1.0.0")
    async with serving(ScriptedNode(infer, (capability,))) as address:
        yield address


def screenshot(display: str) -> Pixels:
    return np.asarray(ImageGrab.grab(xdisplay=display).convert("RGB"))


def is_green(pixels: Pixels) -> bool:
    """Whether the upper edge of BOX is drawn there, as far as no label stands on it."""
    left, top, right, _ = BOX
    edge = pixels[top, left + 90 : right - 5]
    return bool((np.abs(edge.astype(int) - GREEN).max(axis=1) < 40).mean() > 0.9)


async def until(condition: Any, seconds: float = 20) -> None:
    """Wait for something that another process or the window does."""
    give_up = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < give_up, "it never came"
        await asyncio.sleep(0.02)


async def test_a_window_shows_the_drawn_picture_until_ctrl_c(display: str):
    async with node() as address:
        process = await asyncio.create_subprocess_exec(
            *HEARTH, "watch", "look", str(ASTRONAUT), "--node", address,
            stderr=subprocess.PIPE, env=environment(DISPLAY=display),
        )  # fmt: skip
        await until(lambda: is_green(screenshot(display)))
        assert process.returncode is None
        process.send_signal(signal.SIGINT)
        _, complaint = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, complaint) == (130, b"hearth: interrupted: 1 frame\n")


async def test_keys_go_on_to_the_next_picture_and_close_the_window(
    display: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from hearth.watch.window import PictureWindow

    monkeypatch.setenv("DISPLAY", display)
    paths = [write_picture(tmp_path / f"{n}.png", pixels) for n, pixels in enumerate(frames(4))]
    source, counter, window = PictureSource(paths, "four"), FrameCounter(), PictureWindow("watch")
    root = window._root
    async with node() as address:
        options = WatchArguments("look", node=address)
        shown = Display(source, counter, window, "look", picture_seconds=60)
        session = WatchRun(options, source, [], shown, counter)
        running = asyncio.create_task(session.run())
        async with asyncio.timeout(20):
            for number, key in ((1, "Right"), (2, "space"), (3, "q")):
                while f" {number}/4 " not in root.title():
                    await asyncio.sleep(0.01)
                assert f"{number - 1}.png" in root.title()
                root.event_generate(f"<Key-{key}>")
            await running
    assert not window.is_open


async def test_a_picture_larger_than_the_screen_is_shown_smaller(
    display: str, monkeypatch: pytest.MonkeyPatch
):
    from hearth.watch.window import PictureWindow

    monkeypatch.setenv("DISPLAY", display)
    window = PictureWindow("watch")
    large = np.full((1000, 4000, 3), 90, np.uint8)
    assert window.fit(large).startswith(b"P6 720 180 255\n")
    window.show(window.fit(large), "large")
    running = asyncio.create_task(window.run())
    await until(lambda: np.all(screenshot(display)[:180, :720] == 90))
    window.close()
    await running


async def test_a_part_of_the_screen_is_a_source(
    display: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DISPLAY", display)
    out = tmp_path / "seen.mkv"
    source = open_source("screen:320x288+100+50", print)
    sink = open_out(str(out), source, "screen", None)
    async with node() as address:
        wishes = WatchArguments("look", node=address, most=5)
        assert await asyncio.to_thread(run, wishes, source, [sink]) == 0
    video = read_video(out)
    assert video.frames.shape[1:] == (288, 320, 3) and video.rate == 20
    assert is_green(video.frames[0])
