"""Waits of a client with one picture beside a client with thousands.

One stream always has 5,000 more pictures to send (ViT-B-32 int8, random weights), as fast as the
node reads. Another sends one picture each 100 ms, and a third one text each 250 ms: their
latencies, in some rounds, against the time that a batch took in the same round.
"""

import asyncio
import statistics
import sys
from itertools import count
from typing import Any, NamedTuple

import uvloop

import _kit as kit
from _clients import Ledger, Load, RequestOf, closed_loop, connected, converse
from _models import jpegs, vit_b_32, vit_image
from batching import pictures_of
from hearth.contract import ml_service_pb2 as pb

EVERY, TEXTS_EVERY = 0.1, 0.25
"""Seconds between the single requests."""
ROUND = 5.0
"""Seconds of a round."""
AHEAD = 1.5
"""Seconds that the long stream has for itself first."""


def text(number: int) -> pb.InferRequest:
    """Make a short text, another each time."""
    payload = f"a picture of the number {number}".encode()
    return pb.InferRequest(correlation_id=str(number), task="clip_text_embed", payload=payload)


class Round(NamedTuple):
    """Latencies in seconds, and what the pictures' queue did meanwhile."""

    singles: list[float]
    texts: list[float]
    batch: float
    """Pictures in a batch, on average."""
    run: float
    """Seconds of a batch."""
    rate: float
    """Pictures a second, of all clients."""


async def now_and_then(port: int, request_of: RequestOf, every: float) -> list[float]:
    """Send one request after the other over one stream, whether or not the last was answered."""
    ledger = Ledger()

    async def send(stream: Any) -> None:
        started = kit.now()
        for number in range(int(ROUND / every)):
            await asyncio.sleep(started + number * every - kit.now())
            ledger.sent(number)
            await stream.write(request_of(number))

    await converse(port, ledger, send)
    return Load.of([ledger]).all_right().latencies


async def bulk(port: int, pictures: list[bytes], started: asyncio.Event) -> None:
    """Run the long stream: its pictures are written as fast as the node reads."""
    ledger, request_of = Ledger(), pictures_of(pictures)
    async with connected(port) as stub:
        stream = stub.Infer()

        async def send() -> None:
            for number in count():
                ledger.sent(number)
                await stream.write(request_of(number))

        sending = asyncio.create_task(send())
        try:
            async for response in stream:
                ledger.received(response)
                started.set()
        finally:
            sending.cancel()
            stream.cancel()


async def compete(serving: kit.Serving, rounds: int) -> list[Round]:
    """Run the single requests beside the long stream."""
    pictures = jpegs(256)
    started = asyncio.Event()
    long = asyncio.create_task(bulk(serving.port, pictures, started))
    await started.wait()
    await asyncio.sleep(AHEAD)
    seen = [await one_round(serving, pictures) for _ in range(rounds)]
    long.cancel()
    await asyncio.gather(long, return_exceptions=True)
    return seen


async def one_round(serving: kit.Serving, pictures: list[bytes]) -> Round:
    """Run a few seconds of single requests."""
    before = (await asyncio.to_thread(serving.queues))["clip-image"]
    singles, texts = await asyncio.gather(
        now_and_then(serving.port, pictures_of(pictures), EVERY),
        now_and_then(serving.port, text, TEXTS_EVERY),
    )
    after = (await asyncio.to_thread(serving.queues))["clip-image"]
    batches, items = after["batches"] - before["batches"], after["items"] - before["items"]
    run = (after["runs"]["sum"] - before["runs"]["sum"]) / batches
    return Round(singles, texts, items / batches, run, items / ROUND)


def main() -> int:
    """Measure and report."""
    chosen = kit.options(__doc__ or "")
    settings = {
        "clip.onnx_image": vit_image("int8"),
        "clip.onnx_text": vit_b_32() / "textual" / "model.onnx",
        # What measuring shows to pay, on a machine with nothing else to do.
        "batch_size": 8,
    }
    with kit.server("_servers.py", "clip", *kit.flags(settings)) as node:
        closed_loop(node.port, pictures_of(jpegs(32)), count=32).all_right()
        seen = uvloop.run(compete(node, 4 if chosen.quick else 12))
    batch, run, rate = (statistics.median(one[index] for one in seen) for index in (2, 3, 4))
    rows: list[list[object]] = [
        ["a stream with thousands of pictures", rate, "", ""],
        [f"  its batches, {batch:.2g} pictures each", "", run * 1000, ""],
        *(
            [name, 1 / every,
             *(statistics.median(kit.percentile(one[index], share) for one in seen) * 1000
               for share in (0.5, 0.95))]
            for index, name, every in (
                (0, "single pictures beside it", EVERY), (1, "texts beside it", TEXTS_EVERY)
            )
        ),
    ]  # fmt: skip
    batches = statistics.median(kit.percentile(one.singles, 0.95) / one.run for one in seen)
    return kit.report(
        "fairness",
        ["what", "a second", "median ms", "p95 ms"],
        rows,
        [kit.Goal("a single picture, p95 in batch times", batches, most=3)],
        check=chosen.check,
    )


if __name__ == "__main__":
    sys.exit(main())
