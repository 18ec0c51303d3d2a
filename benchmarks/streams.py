"""Cost of answers in parts to a node and its other clients.

Clients ask for ten thousand small parts each, and read one a second: the node's memory is to stay
flat, and another client, which asks for something else, is to cost the node what it costs without
them. Then
requests whose producers wait for long are called off: how long until they have ended?
"""

import asyncio
import statistics
import sys
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import uvloop
from grpc import aio

import _kit as kit
from hearth.contract import ml_service_pb2 as pb
from hearth.contract import ml_service_pb2_grpc as pb_grpc

PARTS = 10_000
SMALL_WINDOW = (("grpc.http2.lookahead_bytes", 65_535), ("grpc.http2.bdp_probe", 0))
"""Clients' channels: with gRPC's usual windows all parts of a node would fit into the client."""
BURST = 1000
"""Requests of the other client that are timed together."""


class Beside(NamedTuple):
    """Slow readers, and the other client beside them."""

    with_readers: list[float]
    """CPU seconds of the node for each burst of the other client."""
    without: list[float]
    mb_before: float
    mb_after: float


def numbers(cid: str, **meta: object) -> pb.InferRequest:
    """Make a request for many parts."""
    told = {key: str(value) for key, value in meta.items()}
    return pb.InferRequest(correlation_id=cid, task="numbers", payload=b"", meta=told)


async def channel_to(stack: AsyncExitStack, port: int, options: Any = ()) -> Any:
    """Open a stub on a channel of its own."""
    channel = aio.insecure_channel(
        f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1), *options]
    )
    return pb_grpc.InferenceStub(await stack.enter_async_context(channel))


async def burst(serving: kit.Serving, stub: Any) -> float:
    """CPU seconds of the node for some requests one after another."""
    stream = stub.Infer()
    began = serving.cpu_seconds()
    for number in range(BURST):
        await stream.write(
            pb.InferRequest(correlation_id=str(number), task="noop", payload=b"x" * 1000)
        )
        await stream.read()
    took = serving.cpu_seconds() - began
    await stream.done_writing()
    return took


async def slow_reader(stack: AsyncExitStack, port: int) -> None:
    """Ask for parts, and read one a second until cancelled."""
    stub = await channel_to(stack, port, SMALL_WINDOW)
    stream = stub.Infer()
    await stream.write(numbers("slow", n=PARTS))
    expected = 0
    while True:
        part = await stream.read()
        if int(part.result) != expected:
            raise SystemExit(f"part {part.result!r} came instead of {expected}")
        expected += 1
        await asyncio.sleep(1)


async def beside(serving: kit.Serving, readers: int, rounds: int) -> Beside:
    """Bursts of another client with and without slow readers, in turns."""
    seen = Beside([], [], 0, 0)
    async with AsyncExitStack() as stack:
        other = await channel_to(stack, serving.port)
        for _ in range(3):
            await burst(serving, other)
        settled: list[float] = []
        for number in range(rounds):
            async with AsyncExitStack() as channels:
                reading = [
                    asyncio.create_task(slow_reader(channels, serving.port)) for _ in range(readers)
                ]
                await asyncio.sleep(2)  # until their windows are full
                seen.with_readers.append(await burst(serving, other))
                if number == 0:
                    settled = [serving.resident_mb()]
                    await asyncio.sleep(5)
                    settled.append(serving.resident_mb())
                for each in reading:
                    each.cancel()
                ended = await asyncio.gather(*reading, return_exceptions=True)
                if any(isinstance(each, Exception) for each in ended):
                    raise SystemExit(f"a slow reader has ended: {ended}")
            await asyncio.sleep(0.2)
            seen.without.append(await burst(serving, other))
    return seen._replace(mb_before=settled[0], mb_after=settled[1])


async def cancels(port: int, count: int) -> list[float]:
    """Milliseconds from a cancel to the end of its target, of a producer that waits for long."""
    async with AsyncExitStack() as stack:
        stub = await channel_to(stack, port)
        stream = stub.Infer()
        took = []
        for number in range(count):
            await stream.write(numbers(str(number), n=2, pace=600))
            await stream.write(pb.InferRequest(correlation_id="n", task="noop", payload=b"x"))
            await stream.read()  # so it has begun
            began = kit.now()
            await stream.write(
                pb.InferRequest(correlation_id="c", task="cancel", meta={"target": str(number)})
            )
            ends = [await stream.read(), await stream.read()]
            took.append(1000 * (kit.now() - began))
            [target] = [each for each in ends if each.correlation_id == str(number)]
            if target.error.detail != "CANCELLED":
                raise SystemExit(f"it wasn't called off: {target}")
        await stream.done_writing()
    return took


def main() -> int:
    """Measure and report."""
    chosen = kit.options(__doc__ or "")
    readers, rounds, count = (20, 5, 100) if chosen.quick else (50, 15, 1000)
    with (
        kit.server("_servers.py", "noop", cores=kit.SERVER_CORE) as serving,
        kit.confined(kit.CLIENT_CORE),
    ):
        first = serving.resident_mb()
        seen = uvloop.run(beside(serving, readers, rounds))
        took = uvloop.run(cancels(serving.port, count))
    share = kit.median_ratio(seen.with_readers, seen.without)
    figures = {
        "MB more for each slow reader of 10,000 parts": (seen.mb_after - first) / readers,
        "CPU for another client's request beside slow readers, against none": share,
        "ms from a cancel to the end of its target, 95 of 100": kit.percentile(took, 0.95),
    }
    rows = [
        ["memory with no reader, MB", first],
        [f"with {readers} slow readers, 2 s and 7 s after they began, MB", seen.mb_before],
        ["", seen.mb_after],
        [
            "CPU for a request of another client alone, µs",
            1e6 * statistics.median(seen.without) / BURST,
        ],
        ["beside slow readers, µs", 1e6 * statistics.median(seen.with_readers) / BURST],
        ["a cancel, median ms", statistics.median(took)],
    ]
    return kit.report(
        "streams", ["what", "figure"], rows, kit.goals_of("streams", figures), check=chosen.check
    )


if __name__ == "__main__":
    sys.exit(main())
