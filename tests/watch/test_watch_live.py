"""`hearth watch` of live sources, and with nodes that are slow, break off, or say no."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson
import pytest

from client_kit import Requests, ScriptedNode, echo, serving
from hearth.cli import console
from hearth.cli.exit_codes import FAILURE, OK
from hearth.cli.watch import run as run_watch
from hearth.contract import ml_service_pb2 as pb
from hearth.errors import HearthError, Unavailable
from hearth.watch.captures import CaptureSource
from hearth.watch.frames import FrameSource
from hearth.watch.latest_frame import LatestFrame
from hearth.watch.run import WatchArguments
from hearth.watch.sinks import JsonLines, VideoFile
from hearth.watch.sources import open_source
from view_kit import RATE, frames, read_video, write_picture, write_video

COUNT = 40
VIDEO_OPTIONS = ("stream_id", "frame_number", "timestamp_ms", "drop")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty frames of the astronaut; not to be written to."""
    return write_video(tmp_path_factory.mktemp("clips") / "clip.avi", list(frames(COUNT)))


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """What was said on stderr so far."""
    console.notes.cache_clear()
    yield lambda: capsys.readouterr().err
    console.notes.cache_clear()


def camera(clip: Path) -> CaptureSource:
    """A real capture of a file, taken for a camera: it gives frames as fast as it is read."""
    return CaptureSource(cv2.VideoCapture(str(clip)), "camera 0", live=True)


class Held(FrameSource):
    """A source that stands still behind so many frames until it is let go."""

    live = True

    def __init__(self, source: FrameSource, after: int) -> None:
        self.name, self.rate = source.name, source.rate
        self._source, self._left = source, after
        self.gate = threading.Event()
        self.waits = threading.Event()

    def read(self) -> Any:
        if self._left == 0:
            self.waits.set()
            self.gate.wait(20)
        self._left -= 1
        return self._source.read()

    def close(self) -> None:
        self._source.close()


# --- the newest frame alone -------------------------------------------------------------------


async def test_whoever_asks_late_gets_the_newest_frame_alone(clip: Path):
    source = Held(camera(clip), 7)
    with LatestFrame(source) as newest:
        await asyncio.to_thread(source.waits.wait, 20)
        sixth = await newest.next()
        assert sixth is not None and (sixth.number, newest.skipped) == (6, 6)
        source.gate.set()
        seen = []
        while (frame := await newest.next()) is not None:
            seen.append(frame.number)
    assert seen == sorted(set(seen)) and seen[0] > 6 and seen[-1] == COUNT - 1
    assert newest.skipped == COUNT - 1 - len(seen)
    source.close()


async def test_what_ends_a_source_reaches_whoever_waits_for_a_frame(clip: Path):
    class Unplugged(FrameSource):
        live = True

        def read(self) -> Any:
            raise HearthError("the camera is gone")

    with LatestFrame(Unplugged()) as newest, pytest.raises(HearthError, match="the camera is gone"):
        await newest.next()


# --- nodes whose every answer is scripted -------------------------------------------------------

FOUND = {
    "faces": [{"bbox": [100, 60, 200, 180], "confidence": 0.9, "landmarks": [150, 120] * 5}],
    "count": 1,
}


def answer(request: pb.InferRequest, **changes: Any) -> pb.InferResponse:
    """A face in every frame."""
    fields = {"result": orjson.dumps(FOUND), "result_mime": "application/json;schema=face_v1"}
    return echo(request, **{**fields, **changes})


def failure(request: pb.InferRequest, message: str) -> pb.InferResponse:
    error = pb.Error(code=pb.ERROR_CODE_INVALID_ARGUMENT, message=message)
    return echo(request, result=b"", error=error)


@asynccontextmanager
async def node_of(infer: Any, options: tuple[str, ...] = ()) -> AsyncIterator[str]:
    """A node with the task ``look``, which has these options."""
    task = pb.IOTask(
        name="look", input_mimes=["image/jpeg", "image/png"], limits=dict.fromkeys(options, "text")
    )
    capability = pb.Capability(service_name="any", tasks=[task], protocol_version="1.0.0")
    async with serving(ScriptedNode(infer, (capability,))) as address:
        yield address


async def run(address: str, source: FrameSource, *sinks: Any, **wishes: Any) -> int:
    return await asyncio.to_thread(
        run_watch, WatchArguments("look", node=address, **wishes), source, sinks
    )


def lines_of(path: Path) -> list[Mapping[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


async def test_a_slow_node_gets_the_newest_frame_next(clip: Path, tmp_path: Path):
    source = Held(camera(clip), 1)
    sent: list[pb.InferRequest] = []

    async def infer(requests: Requests, _: object) -> AsyncIterator[pb.InferResponse]:
        async for request in requests:
            sent.append(request)
            if len(sent) == 1:
                # While the first is worked on all others come and go.
                source.gate.set()
                await asyncio.to_thread(source.ended.wait, 20)
            yield answer(request)

    class Whole(Held):
        def __init__(self) -> None:
            super().__init__(camera(clip), 1)
            self.ended = threading.Event()

        def read(self) -> Any:
            if (frame := super().read()) is None:
                self.ended.set()
            return frame

    source = Whole()
    told = tmp_path / "told.jsonl"
    async with node_of(infer) as address:
        assert await run(address, source, JsonLines(told)) == OK
    assert [line["frame"] for line in lines_of(told)] == [0, COUNT - 1]
    # The task knows no videos, so nothing is said of one.
    assert [dict(request.meta) for request in sent] == [{}, {}]


async def test_frames_that_the_node_drops_are_counted_and_not_shown(
    clip: Path, tmp_path: Path, said: Callable[[], str]
):
    sent: list[Mapping[str, str]] = []

    async def infer(requests: Requests, _: object) -> AsyncIterator[pb.InferResponse]:
        async for request in requests:
            sent.append(dict(request.meta))
            if len(sent) % 2:
                yield answer(request)
            else:
                body = orjson.dumps({"dropped": True})
                yield answer(request, result=body, meta={"dropped": "true"})

    told, out = tmp_path / "told.jsonl", tmp_path / "seen.mkv"
    sinks = (JsonLines(told), VideoFile(out, RATE, live=True))
    async with node_of(infer, VIDEO_OPTIONS) as address:
        assert await run(address, camera(clip), *sinks, options={"extra": "yes"}) == OK
    assert all(meta["drop"] == "oldest" and meta["extra"] == "yes" for meta in sent)
    assert len({meta["stream_id"] for meta in sent}) == 1
    assert [int(meta["frame_number"]) for meta in sent] == [
        line["frame"] for line in lines_of(told)
    ]
    shown = (len(sent) + 1) // 2
    plural = "" if shown == 1 else "s"
    summary = said()
    assert summary.startswith(f"{shown} frame{plural}") and f"{COUNT - shown} dropped" in summary
    assert read_video(out).frames.shape[1:] == (288, 320, 3)


async def test_frames_that_fail_are_told_and_the_rest_goes_on(
    clip: Path, tmp_path: Path, said: Callable[[], str]
):
    async def infer(requests: Requests, _: object) -> AsyncIterator[pb.InferResponse]:
        at = 0
        async for request in requests:
            yield failure(request, "too dark") if at in (0, 1, 5) else answer(request)
            at += 1

    source = CaptureSource(cv2.VideoCapture(str(clip)), "clip.avi", live=False)
    out = tmp_path / "seen.mp4"
    async with node_of(infer) as address:
        assert await run(address, source, VideoFile(out, RATE, live=False)) == FAILURE
    # The first that succeeded showed that the first ones failed by themselves.
    first, later, summary = said().splitlines()
    assert (first, later) == (
        "frame 0: too dark (INVALID_ARGUMENT)", "frame 5: too dark (INVALID_ARGUMENT)"
    )  # fmt: skip
    assert summary.startswith(f"{COUNT - 3} frames, ") and "3 failed" in summary
    video = read_video(out).frames
    assert len(video) == COUNT
    # The complaint stands on the frame.
    red = (video[..., 0].astype(int) - video[..., 1] > 100) & (video[..., 2] < 110)
    corners = red[:, 4:24, 4:120].mean(axis=(1, 2))
    assert [at for at in range(COUNT) if corners[at] > 0.3] == [0, 1, 5]


async def test_pictures_that_cannot_be_read_prove_nothing_and_keep_their_place(tmp_path: Path):
    folder, told = tmp_path / "in", tmp_path / "told.jsonl"
    folder.mkdir()
    for number, pixels in enumerate(frames(6)):
        write_picture(folder / f"{number}.png", pixels)
    for number in (0, 2, 3):
        (folder / f"{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")

    async def infer(requests: Requests, _: object) -> AsyncIterator[pb.InferResponse]:
        async for request in requests:
            # The pictures come as their own files; the first of them is refused.
            assert request.payload.startswith(b"\x89PNG")
            first = request.payload == (folder / "1.png").read_bytes()
            yield failure(request, "too dark") if first else answer(request)

    async with node_of(infer) as address:
        assert await run(address, open_source(str(folder), print), JsonLines(told)) == FAILURE
    lines = lines_of(told)
    assert [line["file"] for line in lines] == [f"{number}.png" for number in range(6)]
    codes = [line["error"] and line["error"]["code"] for line in lines]
    assert codes == ["UNREADABLE", "INVALID_ARGUMENT", "UNREADABLE", "UNREADABLE", None, None]


async def test_if_the_first_frames_all_fail_it_ends_with_the_reason(clip: Path, tmp_path: Path):
    async def infer(requests: Requests, _: object) -> AsyncIterator[pb.InferResponse]:
        async for request in requests:
            yield failure(request, "no such option")

    out = tmp_path / "seen.mp4"
    source = CaptureSource(cv2.VideoCapture(str(clip)), "clip.avi", live=False)
    async with node_of(infer) as address:
        with pytest.raises(HearthError, match=f"^{address}: no such option"):
            await run(address, source, VideoFile(out, RATE, live=False))
    assert not out.exists()


async def test_a_node_that_goes_away_ends_it_with_one_line_and_a_whole_video(
    clip: Path, tmp_path: Path, said: Callable[[], str]
):
    async def infer(requests: Requests, context: Any) -> AsyncIterator[pb.InferResponse]:
        at = 0
        async for request in requests:
            if at == 6:
                await context.abort(14, "going down")  # UNAVAILABLE
            yield answer(request)
            at += 1

    out = tmp_path / "seen.avi"
    source = CaptureSource(cv2.VideoCapture(str(clip)), "clip.avi", live=False)
    async with node_of(infer) as address:
        with pytest.raises(
            Unavailable, match=f"^{address} ended the stream after 6 frames in .* s: going down"
        ):
            await run(address, source, VideoFile(out, RATE, live=False))
    assert said() == ""
    assert len(read_video(out).frames) == 6


# --- time in a video of a live source -----------------------------------------------------------


def test_a_live_video_takes_as_long_as_the_source_did(tmp_path: Path):
    from hearth.client import Job, Outcome
    from hearth.watch.frames import SourceFrame
    from hearth.watch.sinks import AnsweredFrame

    out = tmp_path / "seen.mp4"
    video = VideoFile(out, 10, live=True)
    shades = []
    for number, (moment, shade) in enumerate(((5.0, 50), (5.5, 150), (5.52, 250))):
        pixels = np.full((64, 64, 3), shade, np.uint8)
        frame = SourceFrame(number, moment, pixels)
        video.write(AnsweredFrame(frame, Outcome(Job("look", b"")), pixels))
    video.close()
    shades = [round(float(frame.mean()), -1) for frame in read_video(out).frames]
    assert shades == [50] * 5 + [250]
