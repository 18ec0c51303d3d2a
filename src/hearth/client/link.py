"""Infer calls to one node: one for requests of any number of callers, some for one request each."""

import asyncio
import math
import secrets
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

import grpc.aio

from hearth.client.assembly import Assembly
from hearth.client.deadlines import Deadlines
from hearth.client.messages import Failure, Job, Outcome
from hearth.client.outgoing import Outgoing
from hearth.client.status import NO_ANSWER, FirstStatus
from hearth.contract.ml_service_pb2 import InferRequest, InferResponse
from hearth.errors import one_line

InferCall = grpc.aio.StreamStreamCall[InferRequest, InferResponse]

CLOSING_SECONDS = 1.0
"""How long a call that is cancelled, or all answered, may take to end."""
CANCELLED = Failure("CANCELLED", "the call was cancelled")
TOO_LATE = Failure("DEADLINE_EXCEEDED", "no answer in time")


class Unanswered(NamedTuple):
    """Why a link has no outcome for a request."""

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


class SingleCall(Protocol):
    """A call that carries one request."""

    ended: Failure | None

    @property
    def heard(self) -> float:
        """Loop time at which the node last sent anything, or could be asked to."""

    def give_up(self, before: float, failure: Failure) -> None:
        """End what has waited since before a time, of the loop's clock."""

    def abort(self, failure: Failure) -> None:
        """Cancel the call."""

    async def close(self) -> None:
        """Cancel the call and what is open."""


class NodeLinks:
    """Opens links to one node with ``connect``, and closes them."""

    def __init__(self, connect: Callable[[], Link]) -> None:
        self._connect = connect
        self._shared: Link | None = None
        self._single: set[SingleCall] = set()
        self._closing: set[asyncio.Task[None]] = set()

    def shared(self) -> Link:
        """Return the link for all requests: another one, once it has ended."""
        if self._shared is None or self._shared.ended is not None:
            self._shared = self._connect()
        return self._shared

    def single(self) -> Link:
        """Open a link for a single request; close it afterwards."""
        link = self._connect()
        self._single.add(link)
        return link

    def add(self, call: SingleCall) -> None:
        """Take a call of a single request in; close it afterwards."""
        self._single.add(call)

    def close_later(self, call: SingleCall) -> None:
        """Close the call of a single request; nobody waits for its end."""
        self._single.discard(call)
        call.abort(CANCELLED)
        closing = asyncio.create_task(call.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def forget(self, link: Link) -> bool:
        """Drop the shared link, which has ended; returns whether that is news."""
        is_news = self._shared is link
        if is_news:
            self._shared = None
        return is_news

    def heard(self) -> float | None:
        """Return the loop time at which the node last sent anything; None where nothing is open."""
        return max((call.heard for call in self._open()), default=None)

    def give_up(self, before: float, failure: Failure) -> None:
        """End the requests that were sent before a time, of the loop's clock."""
        for call in self._open():
            call.give_up(before, failure)

    def give_up_all(self, failure: Failure) -> None:
        """End all requests that another node can do as well."""
        if self._shared is not None:
            self._shared.abort(failure)
        for call in list(self._single):
            call.give_up(math.inf, failure)

    def abort(self, failure: Failure) -> None:
        """End all requests."""
        for call in self._open():
            call.abort(failure)

    async def close(self) -> None:
        """Cancel what is open."""
        shared = [] if self._shared is None else [self._shared.close()]
        await asyncio.gather(*shared, *(call.close() for call in self._single), *self._closing)

    def _open(self) -> list[SingleCall]:
        shared: list[SingleCall] = [] if self._shared is None else [self._shared]
        return [call for call in (*self._single, *shared) if call.ended is None]
