"""One Infer call to a node, which carries requests of any number of callers."""

import asyncio
import itertools
import secrets

import grpc.aio

from hearth.client.chunks import Assembly
from hearth.client.messages import Failure, Job, Outcome
from hearth.client.outgoing import Outgoing
from hearth.client.status import NO_ANSWER, FirstStatus
from hearth.contract.ml_service_pb2 import InferRequest, InferResponse
from hearth.errors import one_line

InferCall = grpc.aio.StreamStreamCall[InferRequest, InferResponse]

CLOSING_SECONDS = 1.0
"""How long a call that is cancelled, or all answered, may take to end."""
CANCELLED = Failure("CANCELLED", "the call was cancelled")


class StreamEnded(Exception):
    """The call ended without an answer to this request; ``company`` counts those that had none,
    those that nobody waits for any more as well: each of them may be the reason."""

    def __init__(self, failure: Failure, company: int) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.company = company


class Link:
    """Sends requests over one call and hands each its answer; it ends once, for all.

    One task reads and one writes: gRPC allows no more.
    """

    def __init__(self, call: InferCall) -> None:
        self._call = call
        self._status = FirstStatus(call)
        self._open: dict[str, tuple[Assembly, asyncio.Future[Outcome]]] = {}
        self._outgoing = Outgoing(self._is_wanted, self._refuse)
        # Ids of our own: those of two clients behind one proxy must not meet.
        self._prefix = secrets.token_hex(4)
        self._numbers = itertools.count()
        self._loop = asyncio.get_running_loop()
        self.heard = self._loop.time()
        """When the node last sent anything; of the loop's clock."""
        self.ended: Failure | None = None
        """Why it carries no more requests."""
        self._reader = asyncio.create_task(self._read())
        self._writer = asyncio.create_task(self._write())

    def send(self, job: Job) -> "asyncio.Future[Outcome]":
        """The outcome to come; StreamEnded is raised there where the call ends before it.

        Settled by the caller before its turn (cancelled, say), the request isn't sent; after
        it, its answer is dropped.
        """
        future: asyncio.Future[Outcome] = self._loop.create_future()
        if self.ended is not None:
            future.set_exception(StreamEnded(self.ended, 1))
            return future
        key = f"{self._prefix}-{next(self._numbers)}"
        self._open[key] = (Assembly(job.bare()), future)
        self._outgoing.put(key, job)
        return future

    def finish(self) -> None:
        """No more requests come: the node is told so once those that did are written."""
        self._outgoing.finish()

    def abort(self, failure: Failure) -> None:
        """Give it up: all that is open ends with ``failure``."""
        self._end(failure)
        self._call.cancel()

    async def read_to_end(self, seconds: float) -> None:
        """Wait for the node to end the call."""
        await asyncio.wait({self._reader}, timeout=seconds)

    async def close(self) -> None:
        """Cancel the call and what is open."""
        self.abort(CANCELLED)
        # By itself: gRPC still has an operation to finish on this loop.
        await self.read_to_end(CLOSING_SECONDS)
        self._reader.cancel()
        self._writer.cancel()
        await asyncio.gather(self._reader, self._writer, return_exceptions=True)

    async def _write(self) -> None:
        try:
            async for message in self._outgoing.messages():
                await self._call.write(message)
            await self._call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the call has ended: the reader knows why, and fails what is open

    def _is_wanted(self, key: str) -> bool:
        entry = self._open.get(key)
        if entry is not None and entry[1].done():
            del self._open[key]
            return False
        return entry is not None

    def _refuse(self, key: str, error: Exception) -> None:
        """No message can be made of a request."""
        assembly, future = self._open.pop(key)
        failure = Failure("INVALID_ARGUMENT", f"it can't be sent: {one_line(error)}")
        if not future.done():
            future.set_result(Outcome(assembly.job, error=failure))

    async def _read(self) -> None:
        failure = NO_ANSWER
        try:
            # Not `read()`: that gives up unread answers once the status has come.
            async for message in self._call:
                if message is None:  # gRPC couldn't read it
                    failure = Failure("INTERNAL", "the node sent what is no answer")
                    self._call.cancel()
                    break
                self.heard = self._loop.time()
                self._take(message)
        except grpc.aio.AioRpcError as error:
            failure = self._status.failure(error)
        except asyncio.CancelledError:
            failure = CANCELLED
            raise
        finally:
            self._end(failure)
            self._writer.cancel()

    def _take(self, message: InferResponse) -> None:
        entry = self._open.get(message.correlation_id)
        if entry is None:
            return  # answered before, or none of ours: nobody waits for it
        assembly, future = entry
        if (outcome := assembly.add(message)) is not None:
            del self._open[message.correlation_id]
            if not future.done():
                future.set_result(outcome)

    def _end(self, failure: Failure) -> None:
        if self.ended is not None:
            return
        self.ended = failure
        unanswered, self._open = self._open, {}
        for _, future in unanswered.values():
            if not future.done():
                future.set_exception(StreamEnded(failure, len(unanswered)))
