"""A video, or a camera, as a stream of frames: what a node sees in each, as the answers come.

    python video.py HOST:PORT face_mesh clip.mp4
    python video.py HOST:PORT hand_tracking 0         the first camera

A line for each frame. A video file is played at its own pace, as if it were a camera.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator

import cv2

from hearth.client import Connection, Job, Outcome


async def frames(task: str, source: str) -> AsyncIterator[Job]:
    """Yield the frames as requests, each when it is time for it."""
    is_camera = source.isdigit()
    film = cv2.VideoCapture(int(source) if is_camera else source)
    pause = 0 if is_camera else 1 / (film.get(cv2.CAP_PROP_FPS) or 25)
    began, number = time.monotonic(), 0
    while True:
        good, picture = await asyncio.to_thread(film.read)
        if not good:
            return
        await asyncio.sleep(began + number * pause - time.monotonic())
        height, width = picture.shape[:2]
        meta = {
            "stream_id": source,  # frames of one stream_id are followed from one to the next
            "frame_number": str(number),  # comes back with the answer
            "timestamp_ms": f"{(time.monotonic() - began) * 1000:.1f}",
            "drop": "oldest",  # what still waits when a newer frame comes is left out
        }
        mime = f"image/x-raw;format=bgr;width={width};height={height}"
        yield Job(task, picture.tobytes(), mime, meta)
        number += 1


def summary(outcome: Outcome) -> object:
    """Say it in one line; `outcome.json()` has all of an answer."""
    if outcome.error:
        return outcome.error
    if "dropped" in outcome.meta:
        return "dropped"
    # Masks and pictures have nothing to count.
    return f"found {outcome.meta['count']}" if "count" in outcome.meta else outcome.mime


async def main(target: str, task: str, source: str) -> int:
    """Send the frames; return the exit code: 0 if every frame was answered."""
    answered = failed = 0
    async with Connection(target) as node:
        async for outcome in node.infer_many(frames(task, source)):
            answered += 1
            failed += outcome.error is not None
            print(outcome.job.meta["frame_number"], summary(outcome), flush=True)
    if not answered:
        print(f"no frame comes from {source}", file=sys.stderr)
    return 0 if answered and not failed else 1


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python video.py HOST:PORT TASK VIDEO|CAMERA")
    sys.exit(asyncio.run(main(*sys.argv[1:])))
