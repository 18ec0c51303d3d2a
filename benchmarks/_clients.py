"""Clients of a node, each answer matched to its request and counted once.

``closed_loop`` keeps a number of requests in flight; ``flood`` writes as fast as the
connection lets it; ``one_by_one`` opens a stream for each request, at a given rate.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import grpc
import numpy as np
import uvloop
from grpc import aio

from _kit import now
from hearth.contract import ml_service_pb2 as pb
from hearth.contract import ml_service_pb2_grpc as pb_grpc

RequestOf = Callable[[int], pb.InferRequest]
"""The request of a number; its correlation id is the number."""
Right = Callable[[int, bytes], bool]
"""Whether a result is the answer to the request of this number."""

BY_CODE = {
    pb.ERROR_CODE_INVALID_ARGUMENT: "invalid",
    pb.ERROR_CODE_UNAVAILABLE: "refused",
    pb.ERROR_CODE_DEADLINE_EXCEEDED: "expired",
    pb.ERROR_CODE_INTERNAL: "failed",
}
BY_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: "invalid",
    grpc.StatusCode.NOT_FOUND: "invalid",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "refused",
    grpc.StatusCode.UNAVAILABLE: "refused",
    grpc.StatusCode.DEADLINE_EXCEEDED: "expired",
    grpc.StatusCode.CANCELLED: "cancelled",
}
"""Meaning of a status; any other is ``failed``."""

WRITE_FAILED = "Internal error from Core"
"""Message of grpc.aio's client where the deadline passes in the middle of a write."""

EXCUSED = {"right", "refused", "expired"}
"""Outcomes of a good request under load."""


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Any]:
    """Open an InferenceStub (of grpc.aio, which has no types) on a connection of its own."""
    # Channels of one process share a connection unless they are told not to.
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        await channel.channel_ready()
        yield pb_grpc.InferenceStub(channel)


class Ledger:
    """Record of each request of one stream."""

    def __init__(self, right: Right | None = None) -> None:
        self.fates: dict[int, str] = {}
        """Outcomes by request, once that is known."""
        self.strange = 0
        """Answers that nobody waited for: a second one, or to no request."""
        self.complaints: Counter[str] = Counter()
        """Messages of the node about requests that failed."""
        self.answered_at: list[float] = []
        self.latencies: list[float] = []
        """Seconds of the requests that were answered right."""
        self._right = right
        self._sent: dict[int, float] = {}

    def sent(self, number: int) -> None:
        """Note that a request is about to be written."""
        self._sent[number] = now()

    def received(self, response: pb.InferResponse) -> None:
        """Count a final answer; other chunks are no answer yet."""
        if not response.is_final:
            return
        number = int(response.correlation_id)
        since = self._sent.pop(number, None)
        if since is None:
            self.strange += 1
        else:
            self.fates[number] = self._judged(number, since, response)

    def closed(self, number: int, fate: str) -> None:
        """Note that the stream of this one request has ended with a status."""
        if self._sent.pop(number, None) is not None:
            self.fates[number] = fate

    def ended(self, fate: str = "lost") -> None:
        """Note that the stream is over; what has no answer yet gets none."""
        self.fates.update(dict.fromkeys(self._sent, fate))
        self._sent.clear()

    def _judged(self, number: int, since: float, response: pb.InferResponse) -> str:
        at = now()
        if response.error.code:
            fate = BY_CODE.get(response.error.code, "failed")
            if fate == "failed":
                self.complaints[response.error.message] += 1
            return fate
        if self._right is not None and not self._right(number, response.result):
            return "wrong"
        self.answered_at.append(at)
        self.latencies.append(at - since)
        return "right"


class Load(NamedTuple):
    """Results of a load."""

    fates: dict[int, str]
    strange: int
    latencies: list[float]
    answered_at: list[float]

    @classmethod
    def of(cls, ledgers: list[Ledger]) -> "Load":
        """Join all streams."""
        return cls(
            {number: fate for ledger in ledgers for number, fate in ledger.fates.items()},
            sum(ledger.strange for ledger in ledgers),
            [took for ledger in ledgers for took in ledger.latencies],
            sorted(at for ledger in ledgers for at in ledger.answered_at),
        )

    @property
    def outcomes(self) -> Counter[str]:
        """How many came to what."""
        return Counter(self.fates.values()) + Counter({"strange": self.strange})

    @property
    def broken_promises(self) -> int:
        """How many came to what no load excuses."""
        return sum(count for fate, count in self.outcomes.items() if fate not in EXCUSED)

    def rate_between(self, start: float, end: float) -> float:
        """Right answers a second from one time to another."""
        return sum(start <= at < end for at in self.answered_at) / (end - start)

    def rate(self, skip: int = 0) -> float:
        """Right answers a second, without the first and last ``skip``.

        The slope of the count over time: answers come in bursts of a batch, and between
        the first and the last of them lies one burst too few.
        """
        times = self.answered_at[skip : len(self.answered_at) - skip]
        return float(np.polyfit(np.array(times) - times[0], np.arange(len(times)), 1)[0])

    def all_right(self) -> "Load":
        """Return this load, or the end of the benchmark where anything went wrong."""
        if set(self.outcomes) != {"right"}:
            raise SystemExit(f"not every request was answered right: {dict(self.outcomes)}")
        return self


def closed_loop(
    port: int,
    request_of: RequestOf,
    *,
    count: int,
    streams: int = 1,
    in_flight: int = 64,
    right: Right | None = None,
) -> Load:
    """``count`` requests over ``streams`` connections, ``in_flight`` of them at any time."""
    numbers = iter(range(count))

    async def run() -> list[Ledger]:
        share = in_flight // streams
        tasks = (_keep_up(port, request_of, numbers, share, right) for _ in range(streams))
        return list(await asyncio.gather(*tasks))

    return Load.of(uvloop.run(run()))


async def converse(
    port: int,
    ledger: Ledger,
    send: Callable[[Any], Awaitable[None]],
    received: Callable[[], object] = lambda: None,
) -> Ledger:
    """Run one stream: ``send`` writes its requests while its answers are read, to the end of
    both.
    """
    async with connected(port) as stub:
        stream = stub.Infer()

        async def send_all() -> None:
            await send(stream)
            await stream.done_writing()

        sending = asyncio.create_task(send_all())
        async for response in stream:
            ledger.received(response)
            received()
        await sending
    ledger.ended()
    return ledger


async def _keep_up(
    port: int, request_of: RequestOf, numbers: Iterator[int], in_flight: int, right: Right | None
) -> Ledger:
    ledger, window = Ledger(right), asyncio.Semaphore(in_flight)

    async def send(stream: Any) -> None:
        while True:
            await window.acquire()
            if (number := next(numbers, None)) is None:
                return
            ledger.sent(number)
            await stream.write(request_of(number))

    return await converse(port, ledger, send, window.release)


async def flood(
    port: int, request_of: RequestOf, numbers: Iterator[int], *, until: float, right: Right
) -> Ledger:
    """Run one stream, written as fast as the node reads; its answers are read to the end."""
    ledger = Ledger(right)

    async def send(stream: Any) -> None:
        while now() < until:
            number = next(numbers)
            ledger.sent(number)
            await stream.write(request_of(number))

    return await converse(port, ledger, send)


async def one_by_one(
    port: int,
    request_of: RequestOf,
    numbers: Iterator[int],
    *,
    rate: float,
    until: float,
    deadline: float,
    right: Right,
) -> Ledger:
    """``rate`` streams a second with one request each, whatever becomes of those before."""
    ledger = Ledger(right)
    async with connected(port) as stub, asyncio.TaskGroup() as requests:
        due = now()
        while due < until:
            await asyncio.sleep(due - now())
            number = next(numbers)
            ledger.sent(number)
            requests.create_task(_single(stub, request_of(number), ledger, deadline))
            due += 1 / rate
    ledger.ended()
    return ledger


async def _single(stub: Any, request: pb.InferRequest, ledger: Ledger, deadline: float) -> None:
    call = stub.Infer(timeout=deadline)
    try:
        await call.write(request)
        await call.done_writing()
        async for response in call:
            ledger.received(response)
    except (asyncio.InvalidStateError, grpc.RpcError):
        pass  # the status says it
    ledger.closed(int(request.correlation_id), await fate_by_status(call, ledger, deadline))


async def fate_by_status(call: Any, ledger: Ledger, deadline: float | None) -> str:
    """Tell what becomes of the requests that a stream ended without an answer to."""
    status, details = await call.code(), await call.details()
    if status == grpc.StatusCode.OK:
        return "lost"
    if deadline is not None and details == WRITE_FAILED:
        return "expired"
    fate = BY_STATUS.get(status, "failed")
    if fate == "failed":
        ledger.complaints[f"{status}: {details}"] += 1
    return fate
