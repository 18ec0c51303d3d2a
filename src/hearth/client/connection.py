"""A connection to one node."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Self

import grpc.aio
from google.protobuf.empty_pb2 import Empty

from hearth.client import capabilities
from hearth.client.capabilities import Capabilities
from hearth.client.forks import ForkGuard, begin_grpc
from hearth.client.infer import InferStream, Jobs
from hearth.client.link import Link, StreamEnded
from hearth.client.messages import Job, Outcome
from hearth.client.status import exception_of, reached
from hearth.contract.ml_service_pb2 import Capability
from hearth.contract.ml_service_pb2_grpc import InferenceStub
from hearth.errors import Unavailable

WINDOW = 16
"""Requests in flight: enough to fill a batch of 8 while the next one is on its way."""
CAPABILITIES_SECONDS = 3.0
"""The contract's limit for an answer, however busy the node is."""
MOST_CAPABILITIES = 4 << 20
"""Bytes; a node of hearth with all services needs some 30 kB."""
_FIRST_PAUSE = 0.25  # seconds between questions to a node that is still loading; doubles

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

    async def health(self, *, timeout: float = CAPABILITIES_SECONDS) -> None:
        """Return if the node answers; raises Unavailable or DeadlinePassed."""
        self._guard.check()
        try:
            await self._stub.Health(Empty(), timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise exception_of(self.target, error) from None

    async def capabilities(
        self, *, timeout: float = CAPABILITIES_SECONDS, patience: float = 0
    ) -> Capabilities:
        """What the node can do, one entry for each of its services.

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
            if size > MOST_CAPABILITIES:
                raise Unavailable(f"{self.target}: it has more to say of itself than can be meant")
        return messages

    def link(self, *, timeout: float | None = None) -> Link:
        """An Infer call for requests of any number of callers; ``timeout`` is its deadline."""
        self._guard.check()
        return Link(self._stub.Infer(None, timeout=timeout))

    async def infer_many(
        self, jobs: Jobs, *, window: int = WINDOW, timeout: float | None = None
    ) -> AsyncGenerator[Outcome, None]:
        """One outcome for each job, as they come, all over one Infer call.

        ``jobs`` is drawn from only while fewer than ``window`` outcomes are owed. ``timeout``
        (seconds) is the deadline of the whole call. A job that fails has its ``error`` set; where
        the node ends the stream, every job without an answer has the reason. Close the
        iterator (``contextlib.aclosing``) to cancel what is in flight.
        """
        self._guard.check()
        outcomes = InferStream(self._stub.Infer(None, timeout=timeout), jobs, window).outcomes()
        async with contextlib.aclosing(outcomes):
            async for outcome in outcomes:
                yield outcome

    async def infer(self, job: Job, *, timeout: float | None = None) -> Outcome:
        """What becomes of one job, on a call of its own."""
        link = self.link(timeout=timeout)
        try:
            answer = link.send(job)
            link.finish()
            return await answer
        except StreamEnded as ended:
            return Outcome(job.bare(), error=ended.failure)
        finally:
            await link.close()
