"""One Infer call to a node, which carries requests of any number of callers."""

import asyncio
import itertools
import math
import secrets
from functools import partial

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


class GivenUp(StreamEnded):
    """The node goes on with others, and has been silent on this request for too long."""


class _Entry:
    """A request that has no answer yet."""

    __slots__ = ("assembly", "future", "sent")

    def __init__(self, job: Job, future: "asyncio.Future[Outcome]") -> None:
        self.assembly = Assembly(job.bare())
        self.future = future
        self.sent = math.inf
        """When its first message was written, of the loop's clock."""


class Link:
    """Sends requests over one call and hands each its answer; it ends once, for all.

    One task reads and one writes: gRPC allows no more.
    """

    def __init__(self, call: InferCall) -> None:
        self._call = call
        self._status = FirstStatus(call)
        self._open: dict[str, _Entry] = {}
        self._abandoned: set[str] = set()
        """Ids of requests that were sent, and that nobody waits for any more."""
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
        self._open[key] = _Entry(job, future)
        future.add_done_callback(partial(self._abandon, key))
        self._outgoing.put(key, job)
        return future

    def finish(self) -> None:
        """No more requests come: the node is told so once those that did are written."""
        self._outgoing.finish()

    def give_up(self, before: float, failure: Failure) -> None:
        """End what was sent before a time, of the loop's clock, with GivenUp."""
        late = [entry for entry in self._open.values() if entry.sent < before]
        for entry in late:
            if not entry.future.done():
                entry.future.set_exception(GivenUp(failure, 1))

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
        """Whether anybody waits for it, whose turn it is to be sent."""
        entry = self._open.get(key)
        if entry is None:
            self._abandoned.discard(key)
            return False
        entry.sent = self._loop.time()
        return True

    def _abandon(self, key: str, _: object) -> None:
        """Of a request that was settled by its caller, nothing is kept but the id."""
        if self._open.pop(key, None) is not None:
            self._abandoned.add(key)

    def _refuse(self, key: str, error: Exception) -> None:
        """No message can be made of a request."""
        entry = self._open.pop(key)
        failure = Failure("INVALID_ARGUMENT", f"it can't be sent: {one_line(error)}")
        entry.future.set_result(Outcome(entry.assembly.job, error=failure))

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
        key = message.correlation_id
        entry = self._open.get(key)
        if entry is None:
            # Answered before, or none of ours, or nobody waits for it.
            if message.is_final:
                self._abandoned.discard(key)
            return
        if (outcome := entry.assembly.add(message)) is not None:
            del self._open[key]
            if not entry.future.done():
                entry.future.set_result(outcome)

    def _end(self, failure: Failure) -> None:
        if self.ended is not None:
            return
        self.ended = failure
        unanswered, self._open = self._open, {}
        company = len(unanswered) + len(self._abandoned)
        for entry in unanswered.values():
            if not entry.future.done():
                entry.future.set_exception(StreamEnded(failure, company))
