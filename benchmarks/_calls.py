"""Counts the Python calls of one warm request: a node in this process, asked through a socket.

Prints one JSON object: calls of hearth's own functions by file, for the median request. What
comes back to a coroutine counts as a call; comprehensions and lambdas don't.
"""

import asyncio
import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from grpc import aio

import hearth
from _models import FOLDER, convolutions, jpegs
from _servers import settled
from batching import pictures_of
from hearth.contract import ml_service_pb2_grpc as pb_grpc
from hearth.node import InferenceNode
from hearth.settings import load

ROOT = f"{Path(hearth.__file__).parent}{os.sep}"
WARM_UP, REQUESTS = 20, 21
QUIET_SECONDS = 0.05
"""After an answer, until all that it set in motion has come to rest."""

calls: Counter[str] = Counter()


def count(frame: FrameType, event: str, _: Any) -> None:
    """Profile hook of every thread; a generated module counts for what calls it."""
    if event == "call":
        code = frame.f_code
        if code.co_filename.startswith(ROOT) and not code.co_name.startswith("<"):
            calls[f"{code.co_filename[len(ROOT) :]}:{code.co_name}"] += 1


async def ask(pictures: Sequence[bytes]) -> list[Counter[str]]:
    """Count the calls of each request, one at a time."""
    settings = load(
        {"host": "127.0.0.1", "port": 0, "mdns.enabled": False, "log_level": "warning",
         "data_dir": FOLDER, "services": "clip", "clip.onnx_image": convolutions(),
         "hub.offline": True},
        environment={},
    )  # fmt: skip
    request_of = pictures_of(pictures)
    counted = []
    async with InferenceNode(settings) as node:
        await settled(node)
        async with aio.insecure_channel(f"127.0.0.1:{node.port}") as channel:
            stream = pb_grpc.InferenceStub(channel).Infer()
            for number in range(len(pictures)):
                calls.clear()
                await stream.write(request_of(number))
                answer = await stream.read()
                if answer.error.code:
                    raise SystemExit(f"it failed: {answer.error.message}")
                await asyncio.sleep(QUIET_SECONDS)
                counted.append(calls.copy())
            await stream.done_writing()
    return counted[WARM_UP:]


def main() -> None:
    """Count and print."""
    # Threads inherit the hook when they start, so it comes before the node.
    threading.setprofile(count)
    sys.setprofile(count)
    counted = asyncio.run(ask(jpegs(WARM_UP + REQUESTS)))
    sys.setprofile(None)
    middle = sorted(counted, key=Counter.total)[len(counted) // 2]
    print(json.dumps(middle))


if __name__ == "__main__":
    main()
