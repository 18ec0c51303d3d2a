"""What the node costs above the work itself.

1. A task that does nothing, one stream with 64 requests in flight: requests a second against a
   bare grpc.aio echo server on the same stream pattern.
2. ``clip_image_embed`` of 224-pixel JPEGs with ViT-B-32 (random weights, ONNX): the server's CPU
   for each image against a bare loop that decodes, prepares and runs the same session on as
   many threads, in batches of the same size.
"""

import asyncio
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import uvloop
from grpc import aio

import _kit as kit
from _models import jpegs, vit_b_32
from hearth.contract import ml_service_pb2 as pb
from hearth.contract import ml_service_pb2_grpc as pb_grpc

IN_FLIGHT = 64
PAYLOAD = b"x" * 1024


async def drive(port: int, task: str, payload_of: Callable[[int], bytes], count: int) -> float:
    """Send ``count`` requests over one stream, 64 in flight; requests a second."""
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stream = pb_grpc.InferenceStub(channel).Infer()
        window = asyncio.Semaphore(IN_FLIGHT)

        async def send() -> None:
            for number in range(count):
                await window.acquire()
                await stream.write(
                    pb.InferRequest(
                        correlation_id=str(number), task=task, payload=payload_of(number)
                    )
                )
            await stream.done_writing()

        started = kit.now()
        sending = asyncio.create_task(send())
        answered = 0
        async for response in stream:
            if response.error.code:
                raise SystemExit(f"{task}: {response.error.message}")
            answered += 1
            window.release()
        await sending
        assert answered == count, (answered, count)
        return count / (kit.now() - started)


def measure(
    serving: kit.Serving, task: str, payload_of: Callable[[int], bytes], count: int
) -> tuple[float, float]:
    """Requests a second, and the server's CPU in microseconds for each."""
    before = serving.cpu_seconds()
    rate = uvloop.run(drive(serving.port, task, payload_of, count))
    return rate, (serving.cpu_seconds() - before) / count * 1e6


def noop(rounds: int, count: int) -> tuple[list[list[object]], kit.Goal]:
    """The node against the bare echo server."""
    rates: dict[str, list[float]] = {"echo": [], "noop": []}
    costs: dict[str, list[float]] = {"echo": [], "noop": []}
    with kit.server("_servers.py", "echo") as echo, kit.server("_servers.py", "noop") as node:
        for serving in (echo, node):
            measure(serving, "noop", lambda _: PAYLOAD, count // 4)
        for _ in range(rounds):
            for kind, serving in (("echo", echo), ("noop", node)):
                rate, cost = measure(serving, "noop", lambda _: PAYLOAD, count)
                rates[kind].append(rate)
                costs[kind].append(cost)
    rows: list[list[object]] = [
        [name, round(statistics.median(rates[kind])), statistics.median(costs[kind])]
        for kind, name in (("echo", "bare grpc.aio echo"), ("noop", "hearth, no-op task"))
    ]  # fmt: skip
    ratio = kit.median_ratio(rates["noop"], rates["echo"])
    return rows, kit.Goal("no-op requests a second, against the echo", ratio, least=0.6)


def clip(rounds: int, count: int) -> tuple[list[list[object]], kit.Goal]:
    """The node against the bare loop, CPU for each image."""
    folder, pictures = vit_b_32(), jpegs(count)
    ours, rates, bare = [], [], []
    with kit.server("_servers.py", "clip", str(folder)) as node:
        measure(node, "clip_image_embed", pictures.__getitem__, count // 2)
        for _ in range(rounds):
            rate, cost = measure(node, "clip_image_embed", pictures.__getitem__, count)
            rates.append(rate)
            ours.append(cost)
            bare.append(loop(folder, count))
    rows: list[list[object]] = [
        ["bare loop, clip_image_embed, batch 8", "", statistics.median(bare)],
        ["hearth, clip_image_embed", statistics.median(rates), statistics.median(ours)],
    ]
    ratio = kit.median_ratio(ours, bare)
    return rows, kit.Goal("CPU for each image, against the loop", ratio, most=1.15)


def loop(folder: Path, count: int) -> float:
    """CPU microseconds for each image of the bare loop, in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(kit.HERE / "_loop.py"), str(folder), str(count), "8", "1"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout)


def main() -> int:
    """Measure both and report."""
    chosen = kit.options(__doc__ or "")
    rounds, requests, images = (3, 3000, 96) if chosen.quick else (7, 10_000, 256)
    rows, no_op = noop(rounds, requests)
    more, embedding = clip(rounds, images)
    return kit.report(
        "overhead",
        ["what", "a second", "server CPU µs each"],
        rows + more,
        [no_op, embedding],
        check=chosen.check,
    )


if __name__ == "__main__":
    sys.exit(main())
