"""A client as one writes it by hand, to one node: one stream, so many requests in flight.

It knows its node, its task and what its sources are; it reads files where it needs them.
Nothing is sent again, and whatever isn't an answer ends it.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from typing import Any

from _clients import connected
from _kit import now
from hearth.contract import ml_service_pb2 as pb


async def by_hand(
    port: int, task: str, mime: str, sources: Iterable[bytes | Path], in_flight: int
) -> AsyncGenerator[tuple[int, bytes], None]:
    """Yield the number of each source and its result, as they come."""
    window = asyncio.Semaphore(in_flight)
    async with connected(port) as stub:
        stream = stub.Infer()

        async def send() -> None:
            for number, source in enumerate(sources):
                await window.acquire()
                payload = source if isinstance(source, bytes) else source.read_bytes()
                await stream.write(
                    pb.InferRequest(
                        correlation_id=str(number), task=task, payload=payload, payload_mime=mime
                    )
                )
            await stream.done_writing()

        sending = asyncio.create_task(send())
        async for response in stream:
            if response.HasField("error") or not response.is_final:
                raise SystemExit(f"no answer: {response.error.message}")
            window.release()
            yield int(response.correlation_id), response.result
        await sending


async def latencies_by_hand(port: int, task: str, payload: bytes, count: int) -> list[float]:
    """Seconds for each of ``count`` requests, one after the other, over one stream."""
    took = []
    async with connected(port) as stub:
        stream: Any = stub.Infer()
        for number in range(count):
            started = now()
            await stream.write(
                pb.InferRequest(correlation_id=str(number), task=task, payload=payload)
            )
            response = await stream.read()
            took.append(now() - started)
            if response.correlation_id != str(number) or not response.is_final:
                raise SystemExit(f"not the answer to {number}: {response}")
        await stream.done_writing()
    return took
