"""Infer calls to one node: one for requests of any number of callers, some for one request each."""

import asyncio
import math
import secrets
from typing import Literal, NamedTuple

import grpc.aio

from hearth.client.deadlines import Deadlines
from hearth.client.framing import Assembly, Outgoing
from hearth.client.messages import Failure, Job, Outcome
from hearth.client.status import NO_ANSWER, FirstStatus
from hearth.contract.ml_service_pb2 import InferRequest, InferResponse
from hearth.errors import one_line

InferCall = grpc.aio.StreamStreamCall[InferRequest, InferResponse]

CLOSING_SECONDS = 1.0
"""Time that a call may take to end that is cancelled, or all answered."""
CANCELLED = Failure("CANCELLED", "the call was cancelled")
TOO_LATE = Failure("DEADLINE_EXCEEDED", "no answer in time")


class Unanswered(NamedTuple):
    """Reason why a link has no outcome for a request."""

    why: Literal["ended", "given_up", "late"]
    """The call ended; the node goes on with others and has been silent on this one for too long;
    the request's deadline passed."""
    failure: Failure
    company: int = 1
    """Requests without an answer when the call ended, those that nobody waits for any more as
    well: each of them may be the reason."""


class OpenRequest:
    """A request on a link that has no answer yet; ``settle`` is called once, with what it gets."""

    __slots__ = ("assembly", "deadline", "job", "key", "sent")

    def __init__(self, job: Job, deadline: float = math.inf) -> None:
        self.job = job
        self.deadline = deadline
        """Loop time at which it ends as late."""
        self.key = ""
        """Correlation id on its link."""
        self.sent = math.inf
        """Loop time at which its first message was written."""
        self.assembly: Assembly

    def settle(self, result: Outcome | Unanswered) -> None:
        """Take what has become of the request."""
        raise NotImplementedError


class AwaitedRequest(OpenRequest):
    """A request with a future for what becomes of it."""

    __slots__ = ("future",)

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def settle(self, result: Outcome | Unanswered) -> None:
        """Set the future; an end of the call is the outcome's error."""
        if isinstance(result, Unanswered):
            result = Outcome(self.assembly.job, error=result.failure)
        if not self.future.done():
            self.future.set_result(result)


class Link:
    """Sends requests over one call and hands each its answer; it ends once, for all.

    One task reads and one writes: gRPC allows no more.
    """

    def __init__(self, call: InferCall) -> None:
        self._call = call
        self._status = FirstStatus(call)
        self._open: dict[str, OpenRequest] = {}
        self._abandoned: set[str] = set()
        """Ids of requests that were sent, and that nobody waits for any more."""
        self._outgoing = Outgoing(self._is_wanted, self._refuse)
        # Ids of our own: those of two clients behind one proxy must not meet.
        self._prefix = secrets.token_hex(4)
        self._count = 0
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(self._open.values, self._expire)
        self.heard = self._loop.time()
        """Loop time at which the node last sent anything."""
        self.ended: Failure | None = None
        """Reason why it carries no more requests."""
        self._reader = asyncio.create_task(self._read())
        self._writer = asyncio.create_task(self._write())

    def send(self, request: OpenRequest, bare: Job | None = None) -> None:
        """Send a request when its turn comes; ``bare`` is its job without the payload."""
        job = request.job
        request.assembly = Assembly(job.bare() if bare is None else bare)
        if self.ended is not None:
            request.settle(Unanswered("ended", self.ended))
            return
        self._count += 1
        request.key = key = f"{self._prefix}-{self._count}"
        self._open[key] = request
        self._outgoing.put(key, job)
        self._deadlines.add(request.deadline)

    def abandon(self, request: OpenRequest) -> None:
        """Drop the answer to a request, or the request itself before its turn; it isn't settled."""
        if self._open.pop(request.key, None) is not None and request.sent < math.inf:
            self._abandoned.add(request.key)

    def finish(self) -> None:
        """Tell the node that no more requests come, once those that did are written."""
        self._outgoing.finish()

    def give_up(self, before: float, failure: Failure) -> None:
        """End what was sent before a time, of the loop's clock, as given up."""
        self._drop(
            [request for request in self._open.values() if request.sent <= before],
            Unanswered("given_up", failure),
        )

    def abort(self, failure: Failure) -> None:
        """Cancel the call: all that is open ends with ``failure``."""
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
        call, outgoing = self._call, self._outgoing
        try:
            while (message := await outgoing.next()) is not None:
                await call.write(message)
            await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the call has ended: the reader knows why, and fails what is open

    def _is_wanted(self, key: str) -> bool:
        """Tell whether anybody waits for a request, whose turn it is to be sent."""
        if (request := self._open.get(key)) is None:
            return False
        request.sent = self._loop.time()
        return True

    def _refuse(self, key: str, error: Exception) -> None:
        """End a request that no message can be made of."""
        request = self._open.pop(key)
        failure = Failure("INVALID_ARGUMENT", f"it can't be sent: {one_line(error)}")
        request.settle(Outcome(request.assembly.job, error=failure))

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
        request = self._open.get(key)
        if request is None:
            # Answered before, or none of ours, or nobody waits for it.
            if message.is_final:
                self._abandoned.discard(key)
            return
        if (outcome := request.assembly.add(message)) is not None:
            del self._open[key]
            request.settle(outcome)

    def _end(self, failure: Failure) -> None:
        if self.ended is not None:
            return
        self.ended = failure
        self._deadlines.close()
        unanswered, self._open = self._open, {}
        ended = Unanswered("ended", failure, len(unanswered) + len(self._abandoned))
        for request in unanswered.values():
            request.settle(ended)

    def _drop(self, requests: list[OpenRequest], why: Unanswered) -> None:
        for request in requests:
            self.abandon(request)
        for request in requests:
            request.settle(why)

    def _expire(self, late: list[OpenRequest]) -> None:
        self._drop(late, Unanswered("late", TOO_LATE))
