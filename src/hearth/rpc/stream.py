"""One Infer stream: many requests in, their answers out as they are ready."""

import asyncio
import time

from google.protobuf.message import DecodeError

from hearth.contract import ml_service_pb2 as pb
from hearth.errors import InvalidInput
from hearth.rpc import framing
from hearth.rpc.admission import Admission
from hearth.rpc.outbox import Context, Messages, Outbox
from hearth.rpc.responses import failure, responses
from hearth.rpc.status import Status, status_of
from hearth.rpc.tally import CANCELLED, OK, Tally
from hearth.tasks.router import Router
from hearth.tasks.task import Request, Stages

# How long the first failure of a stream waits to learn whether the stream carries
# one request (status) or several (in-band); see the contract's section on errors.
COMPANY_SECONDS = 0.1

MIB = 1024 * 1024
LARGEST_HELD = 256 * MIB
"""Bytes of one stream's incomplete requests, where a single one may not take more."""


class InferStream:
    """Serves one stream: reads, routes, writes; ends with a status where the contract says so."""

    def __init__(
        self,
        router: Router,
        admission: Admission,
        tally: Tally,
        context: Context,
        *,
        largest_request: int,
    ) -> None:
        self._router = router
        self._tally = tally
        self._context = context
        remaining = context.time_remaining()
        self._deadline = None if remaining is None else time.monotonic() + remaining
        self._source = object()  # requests of different streams take turns
        self._share = admission.open()
        self._assembler = framing.Assembler(
            self._share,
            largest_request=largest_request,
            largest_held=max(LARGEST_HELD, largest_request + MIB),
        )
        self._outbox = Outbox(context, self._share)
        self._loop = asyncio.get_running_loop()
        self._requests: set[asyncio.Task[None]] = set()
        self._company = asyncio.Event()  # half-closed, or more than one request
        self._half_closed = False
        self._status: Status | None = None

    async def run(self) -> Status | None:
        """Answer every request of the stream; returns when all answers are written.

        Returns the status that the RPC is to end with, or None for OK.
        """
        try:
            await self._read()
            while self._requests:
                await asyncio.wait(self._requests)
            return None if self._outbox.broken else self._status
        finally:
            await self._end()

    async def _end(self) -> None:
        """Leave nothing behind; there is something left only where the client left early."""
        try:
            for request in self._requests:
                request.cancel()
            if self._requests:
                await asyncio.wait(self._requests)
        finally:
            self._share.close()

    async def _read(self) -> None:
        try:
            # Nothing of a message stays in this frame while it waits for the next.
            while self._take(await self._context.read()):
                if self._share.is_full:
                    await self._share.room()
        except DecodeError:
            # Nothing after it can be read; what came before is still answered.
            self._status = status_of(InvalidInput("a message of the stream is no InferRequest"))
        self._half_closed = True
        self._company.set()
        for incoming in self._assembler.finish():
            self._begin(incoming)

    def _take(self, message: pb.InferRequest | object) -> bool:
        """Begin what a message completes; False at the end of the stream."""
        if not isinstance(message, pb.InferRequest):
            return False
        for incoming in self._assembler.feed(message):
            self._begin(incoming)
        if self._assembler.begun > 1:
            self._company.set()
        return True

    def _begin(self, incoming: framing.Incoming) -> None:
        size = 0
        if isinstance(incoming, framing.Whole):
            size = len(incoming.payload)
            if (refusal := self._share.refusal(size)) is not None:
                incoming, size = framing.Broken(incoming.correlation_id, refusal, incoming.task), 0
        self._share.take(size)
        request = self._loop.create_task(self._serve(incoming, size))
        self._requests.add(request)
        request.add_done_callback(self._requests.discard)

    async def _serve(self, incoming: framing.Incoming, size: int) -> None:
        answer = await self._answer(incoming)
        del incoming  # who sends may go on sending for long: the answers of others
        await self._outbox.send(answer, size)

    async def _answer(self, incoming: framing.Incoming) -> Messages:
        """The messages that answer a request, whatever becomes of it."""
        started, stages, code = time.perf_counter(), Stages(), CANCELLED
        try:
            if isinstance(incoming, framing.Whole):
                correlation_id, task, payload, mime, meta = incoming
                request = Request(task, payload, mime, meta, self._deadline, self._source, stages)
                answer = responses(correlation_id, await self._router.answer(request))
                code = OK
                self._share.served()
                return answer
            status = status_of(incoming.error)
            code = status.name
        except BaseException as error:  # also a panic in a native library
            if _is_the_end(error):
                raise
            status = status_of(error)
            code = status.name
        finally:
            seconds = time.perf_counter() - started
            self._tally.count(self._router.name_of(incoming.task), code, seconds, stages)
        if not await self._alone():
            return failure(incoming.correlation_id, status)
        self._status = self._status or status
        return ()

    async def _alone(self) -> bool:
        """Whether the stream carried this one request and no other will come."""
        if not self._company.is_set():
            # However full the node is: who isn't read on can't half-close.
            self._share.exempt(True)
            try:
                async with asyncio.timeout(COMPANY_SECONDS):
                    await self._company.wait()
            except TimeoutError:
                return False
            finally:
                self._share.exempt(False)
        return self._half_closed and self._assembler.begun == 1


def _is_the_end(error: BaseException) -> bool:
    """Whether the request ends with its stream, or with the process, and needs no answer."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        # Else it is somebody else's cancellation, which came here instead of an answer.
        return task is None or task.cancelling() > 0
    return isinstance(error, GeneratorExit | KeyboardInterrupt | SystemExit)
