"""One Infer call: jobs in, outcomes out as they come, never more than a window in flight."""

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable

import grpc.aio

from hearth.client.chunks import Assembly, split
from hearth.client.messages import Failure, Job, Outcome
from hearth.client.status import NO_ANSWER, FirstStatus
from hearth.contract.ml_service_pb2 import InferRequest, InferResponse

Jobs = AsyncIterable[Job] | Iterable[Job]
InferCall = grpc.aio.StreamStreamCall[InferRequest, InferResponse]

CLOSING_SECONDS = 1.0
"""How long we wait for the node to end the stream once all is answered."""
CANCELLED = Failure("CANCELLED", "the call was cancelled")


class InferStream:
    """Sends the jobs over one call and gathers what becomes of them.

    Every job gets exactly one outcome. Two tasks share the call, since gRPC allows one
    reader and one writer. A job holds a slot until the caller has its outcome, and one
    more is drawn while it waits for a slot (so that the end of the jobs is seen, and told
    to the node, at once): memory is bounded on both sides.
    """

    def __init__(self, call: InferCall, jobs: Jobs, window: int) -> None:
        self._call = call
        self._jobs = jobs
        self._slots = asyncio.Semaphore(window)
        self._settled: asyncio.Queue[Outcome | None] = asyncio.Queue()
        self._open: dict[str, Assembly] = {}
        # Ids of our own: those of two clients behind one proxy must not meet.
        self._ids = (
            f"{prefix}-{n}" for prefix in [secrets.token_hex(4)] for n in itertools.count()
        )
        self._all_drawn = False
        self._ended: Failure | None = None
        self._status = FirstStatus(call)

    async def outcomes(self) -> AsyncGenerator[Outcome, None]:
        """Outcomes as they come; an exception of the jobs' iterator ends them."""
        reader = asyncio.create_task(self._read())
        writer = asyncio.create_task(self._write())
        try:
            while (outcome := await self._settled.get()) is not None:
                self._slots.release()
                yield outcome
            await writer  # raises what the jobs' iterator raised
            await asyncio.wait({reader}, timeout=CLOSING_SECONDS)
        finally:
            self._call.cancel()
            reader.cancel()
            writer.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)

    async def _write(self) -> None:
        try:
            async for job in _as_async(self._jobs):
                await self._slots.acquire()
                await self._send(job)
        except BaseException:
            self._settled.put_nowait(None)
            raise
        self._all_drawn = True
        self._finish_if_done()
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._call.done_writing()

    async def _send(self, job: Job) -> None:
        if self._ended is not None:
            self._settled.put_nowait(Outcome(job, error=self._ended))
            return
        key = next(self._ids)
        self._open[key] = Assembly(job)
        # Where the call has ended, the reader knows why and fails what is open.
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            for message in split(job, key):
                await self._call.write(message)

    async def _read(self) -> None:
        failure = NO_ANSWER
        try:
            # Not `read()`: that gives up unread answers once the status has come.
            async for message in self._call:
                self._take(message)
        except grpc.aio.AioRpcError as error:
            failure = self._status.failure(error)
        except asyncio.CancelledError:
            failure = CANCELLED
            raise
        finally:
            self._end(failure)

    def _take(self, message: InferResponse) -> None:
        assembly = self._open.get(message.correlation_id)
        if assembly is None:
            return  # answered before, or none of ours: nobody waits for it
        if (outcome := assembly.add(message)) is not None:
            del self._open[message.correlation_id]
            self._settled.put_nowait(outcome)
            self._finish_if_done()

    def _end(self, failure: Failure) -> None:
        """The stream is over: whatever has no answer yet, or is still to come, failed."""
        self._ended = failure
        unanswered, self._open = self._open, {}
        for assembly in unanswered.values():
            self._settled.put_nowait(Outcome(assembly.job, error=failure))
        if unanswered:
            self._finish_if_done()

    def _finish_if_done(self) -> None:
        if self._all_drawn and not self._open:
            self._settled.put_nowait(None)


async def _as_async(jobs: Jobs) -> AsyncIterator[Job]:
    if isinstance(jobs, AsyncIterable):
        async for job in jobs:
            yield job
    else:
        for job in jobs:
            yield job
