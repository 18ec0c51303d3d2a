"""Connection to one node."""

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from typing import Self

import grpc.aio
from google.protobuf.empty_pb2 import Empty

from hearth.client import capabilities
from hearth.client.capabilities import Capabilities
from hearth.client.forks import ForkGuard, begin_grpc
from hearth.client.limits import DEFAULT_LIMITS
from hearth.client.link import (
    CLOSING_SECONDS,
    AwaitedRequest,
    InferCall,
    Link,
    OpenRequest,
    Unanswered,
)
from hearth.client.messages import Job, Outcome
from hearth.client.sources import as_async
from hearth.client.status import exception_of, reached
from hearth.contract.ml_service_pb2 import Capability
from hearth.contract.ml_service_pb2_grpc import InferenceStub
from hearth.errors import Unavailable

WINDOW = 16
"""Number of requests in flight: fills a batch of 8 while the next one is on its way."""
MAX_CAPABILITIES = 4 << 20
"""Bytes that a node may say of itself; one of hearth with all services needs some 30 kB."""
_FIRST_PAUSE = 0.25  # seconds between questions to a node that is still loading; doubles

Jobs = AsyncIterable[Job] | Iterable[Job]

_OPTIONS = (
    # Nodes are neighbours: a proxy of the environment is not the way to them.
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
    # As the clients of the field ping; a node that lost its power is noticed in seconds.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Its own connection and its own back-off, whatever others in the process do.
    ("grpc.use_local_subchannel_pool", 1),
)


class Connection:
    """A node at ``HOST:PORT``; an async context manager, to be used on one event loop.

    In a process forked since, its methods raise RuntimeError, and so do new connections.

    >>> async with Connection("10.0.0.7:50051") as node:
    ...     async for outcome in node.infer_many(Job("ocr", png) for png in pages):
    ...         print(outcome.error or outcome.json())
    """

    def __init__(self, target: str) -> None:
        begin_grpc()
        self._guard = ForkGuard()
        self.target = target
        self._channel = grpc.aio.insecure_channel(target, options=_OPTIONS)
        self._stub = InferenceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls that are still open are cancelled."""
        if not self._guard.forked:
            await self._channel.close(None)

    async def health(self, *, timeout: float = DEFAULT_LIMITS.capabilities_seconds) -> None:
        """Return if the node answers; raises Unavailable or DeadlinePassed."""
        self._guard.check()
        try:
            await self._stub.Health(Empty(), timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise exception_of(self.target, error) from None

    async def capabilities(
        self, *, timeout: float = DEFAULT_LIMITS.capabilities_seconds, patience: float = 0
    ) -> Capabilities:
        """Ask the node what it can do, service by service.

        A node that is still loading models answers UNAVAILABLE: it is asked again for
        ``patience`` seconds. Raises Unavailable, DeadlinePassed.
        """
        self._guard.check()
        loop = asyncio.get_running_loop()
        give_up = loop.time() + patience
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self._ask_capabilities(timeout)
            except grpc.aio.AioRpcError as error:
                loading = error.code() is grpc.StatusCode.UNAVAILABLE and reached(error)
                if not loading or loop.time() + pause > give_up:
                    raise exception_of(self.target, error) from None
            await asyncio.sleep(pause)
            pause = min(2 * pause, 2.0)

    async def _ask_capabilities(self, timeout: float) -> Capabilities:
        try:
            answers = self._stub.StreamCapabilities(Empty(), timeout=timeout)
            return capabilities.read(await self._all(answers))
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise
        # The oldest nodes know the unary call only.
        return capabilities.read([await self._stub.GetCapabilities(Empty(), timeout=timeout)])

    async def _all(self, answers: AsyncIterable[Capability]) -> list[Capability]:
        messages, size = [], 0
        async for message in answers:
            messages.append(message)
            size += message.ByteSize()
            if size > MAX_CAPABILITIES:
                raise Unavailable(f"{self.target}: it has more to say of itself than can be meant")
        return messages

    def link(self, *, timeout: float | None = None) -> Link:
        """Open an Infer call for requests of any number of callers; ``timeout`` is its deadline."""
        self._guard.check()
        return Link(self._stub.Infer(None, timeout=timeout))

    def call(self, seconds: float) -> InferCall:
        """Open an Infer call with a deadline, which may be infinite."""
        self._guard.check()
        return self._stub.Infer(None, timeout=seconds if math.isfinite(seconds) else None)

    async def infer_many(
        self, jobs: Jobs, *, window: int = WINDOW, timeout: float | None = None
    ) -> AsyncGenerator[Outcome, None]:
        """Yield one outcome for each job, as they come, all over one Infer call.

        ``jobs`` is drawn from only while fewer than ``window`` outcomes are owed. ``timeout``
        (seconds) is the deadline of the whole call. A job that fails has its ``error`` set; where
        the node ends the stream, every job without an answer has the reason. Close the
        iterator (``contextlib.aclosing``) to cancel what is in flight.
        """
        self._guard.check()
        outcomes = _JobStream(self.link(timeout=timeout), jobs, window).outcomes()
        async with contextlib.aclosing(outcomes):
            async for outcome in outcomes:
                yield outcome

    async def infer(self, job: Job, *, timeout: float | None = None) -> Outcome:
        """Return what becomes of one job, on a call of its own."""
        link = self.link(timeout=timeout)
        try:
            request = AwaitedRequest(job)
            link.send(request)
            link.finish()
            return await request.future
        finally:
            await link.close()


class _OwedRequest(OpenRequest):
    """A job of a stream; ``settled`` is called with what becomes of it."""

    __slots__ = ("_settled",)

    def __init__(self, job: Job, settled: Callable[[Outcome], None]) -> None:
        super().__init__(job)
        self._settled = settled

    def settle(self, result: Outcome | Unanswered) -> None:
        if isinstance(result, Unanswered):
            result = Outcome(self.assembly.job, error=result.failure)
        self._settled(result)


class _JobStream:
    """Sends many jobs over one link; every job gets exactly one outcome.

    A job holds a slot until the caller has its outcome, and one more is drawn while it
    waits for a slot (so that the end of the jobs is seen, and told to the node, at once):
    memory is bounded on both sides.
    """

    def __init__(self, link: Link, jobs: Jobs, window: int) -> None:
        self._link = link
        self._jobs = jobs
        self._slots = asyncio.Semaphore(window)
        self._settled: asyncio.Queue[Outcome | None] = asyncio.Queue()
        self._owed = 0
        self._all_drawn = False

    async def outcomes(self) -> AsyncGenerator[Outcome, None]:
        """Yield outcomes as they come; an exception of the jobs' iterator ends them."""
        drawing = asyncio.create_task(self._draw())
        try:
            while (outcome := await self._settled.get()) is not None:
                self._slots.release()
                yield outcome
            await drawing  # raises what the jobs' iterator raised
            await self._link.read_to_end(CLOSING_SECONDS)
        finally:
            drawing.cancel()
            await asyncio.gather(drawing, self._link.close(), return_exceptions=True)

    async def _draw(self) -> None:
        try:
            async for job in as_async(self._jobs):
                await self._slots.acquire()
                self._owed += 1
                self._link.send(_OwedRequest(job, self._settle))
        except BaseException:
            self._settled.put_nowait(None)
            raise
        self._link.finish()
        self._all_drawn = True
        self._finish_if_done()

    def _settle(self, outcome: Outcome) -> None:
        self._settled.put_nowait(outcome)
        self._owed -= 1
        self._finish_if_done()

    def _finish_if_done(self) -> None:
        if self._all_drawn and not self._owed:
            self._settled.put_nowait(None)
