"""One Infer stream: many requests in, their answers out as they are ready."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable
from typing import NamedTuple

import grpc
from google.protobuf.message import DecodeError

from hearth.contract import ml_service_pb2 as pb
from hearth.errors import HearthError, InvalidInput, one_line
from hearth.rpc import framing
from hearth.rpc.status import Code, code_of
from hearth.tasks.router import Router
from hearth.tasks.task import Request

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[pb.InferRequest, pb.InferResponse]

# What a status may carry of a message: clients put whatever they like into names and
# options, and HTTP/2 headers that are too long break the call.
LONGEST_MESSAGE = 400

# How long the first failure of a stream waits to learn whether the stream carries
# one request (status) or several (in-band); see the contract's section on errors.
COMPANY_SECONDS = 0.1


class StreamLimits(NamedTuple):
    """What one stream may occupy; past it, the node stops reading the stream."""

    largest_request: int
    """Bytes of one request's payload."""
    in_flight: int = 64
    """Requests being answered."""
    bytes_held: int = 256 * 1024 * 1024
    """Payload bytes of unfinished requests, and as many again of those being answered."""

    @classmethod
    def for_requests(cls, largest: int) -> "StreamLimits":
        """Limits under which a request of ``largest`` bytes always fits."""
        return cls(largest, bytes_held=max(cls._field_defaults["bytes_held"], largest))


class Status(NamedTuple):
    """How a stream of one request tells that it failed."""

    code: Code
    message: str


class InferStream:
    """Serves one stream: reads, routes, writes; ends with a status where the contract says so."""

    def __init__(self, router: Router, context: Context, limits: StreamLimits) -> None:
        self._router = router
        self._context = context
        self._limits = limits
        self._assembler = framing.Assembler(
            largest_request=limits.largest_request, largest_held=limits.bytes_held
        )
        remaining = context.time_remaining()
        self._deadline = None if remaining is None else time.monotonic() + remaining
        self._writing = asyncio.Lock()
        self._company = asyncio.Event()  # half-closed, or more than one request
        self._freed = asyncio.Event()
        self._half_closed = False
        self._in_flight = self._bytes = 0
        self._status: Status | None = None
        self._gone = False  # the client: nothing can be written any more

    async def run(self, messages: AsyncIterator[pb.InferRequest]) -> Status | None:
        """Answer every request of the stream; returns when all answers are written.

        Returns the status that the RPC is to end with, or None for OK.
        """
        async with asyncio.TaskGroup() as requests:
            try:
                async for message in messages:
                    for incoming in self._assembler.feed(message):
                        self._begin(requests, incoming)
                    if self._assembler.begun > 1:
                        self._company.set()
                    await self._room()
            except DecodeError:
                # Nothing after it can be read; what came before is still answered.
                error = InvalidInput("a message of the stream is no InferRequest")
                self._status = Status(code_of(error), str(error))
            self._half_closed = True
            self._company.set()
            for incoming in self._assembler.finish():
                self._begin(requests, incoming)
        return None if self._gone else self._status

    def _begin(self, requests: asyncio.TaskGroup, incoming: framing.Incoming) -> None:
        self._in_flight += 1
        self._bytes += _size(incoming)
        requests.create_task(self._serve(incoming))

    async def _room(self) -> None:
        """Stop reading while the stream occupies all that it may: HTTP/2 slows the client."""
        while self._in_flight >= self._limits.in_flight or self._bytes > self._limits.bytes_held:
            self._freed.clear()
            await self._freed.wait()

    async def _serve(self, incoming: framing.Incoming) -> None:
        try:
            with self._router.counted():  # until it is written: a stop waits for that
                await self._write(await self._answer(incoming))
        finally:
            self._in_flight -= 1
            self._bytes -= _size(incoming)
            self._freed.set()

    async def _answer(self, incoming: framing.Incoming) -> Iterable[pb.InferResponse]:
        try:
            if isinstance(incoming, framing.Broken):
                raise incoming.error
            result = await self._router.answer(
                Request(
                    incoming.task, incoming.payload, incoming.mime, incoming.meta, self._deadline
                )
            )
        except Exception as error:
            return await self._failed(incoming, error)
        return framing.responses(
            incoming.correlation_id,
            result.body,
            mime=result.mime,
            schema=result.schema,
            meta=result.meta,
        )

    async def _failed(
        self, incoming: framing.Incoming, error: Exception
    ) -> Iterable[pb.InferResponse]:
        code, message = code_of(error), one_line(error, LONGEST_MESSAGE)
        if not isinstance(error, HearthError):
            log.exception("a request failed in a way that nobody foresaw")
            message = "the node failed; its log says why"
        if await self._alone():
            self._status = self._status or Status(code, message)
            return ()
        return (framing.failure(incoming.correlation_id, code.in_band, message),)

    async def _alone(self) -> bool:
        """Whether the stream carried this one request and no other will come."""
        if not self._company.is_set():
            try:
                async with asyncio.timeout(COMPANY_SECONDS):
                    await self._company.wait()
            except TimeoutError:
                return False
        return self._half_closed and self._assembler.begun == 1

    async def _write(self, messages: Iterable[pb.InferResponse]) -> None:
        async with self._writing:  # gRPC allows one write at a time
            for message in messages:
                if self._gone:
                    return
                try:
                    await self._context.write(message)
                except Exception as error:  # gRPC raises several kinds, none of them public
                    # The client has left; gRPC ends the call, and with it this stream.
                    log.debug("an answer could not be written: %s", error)
                    self._gone = True


def _size(incoming: framing.Incoming) -> int:
    return len(incoming.payload) if isinstance(incoming, framing.Whole) else 0
