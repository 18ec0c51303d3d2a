"""Infer calls to one node: one for all requests, and some for one request each."""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import NamedTuple, Protocol, cast

import grpc.aio

from hearth.client.affinity import ModelAffinity
from hearth.client.framing import ENTRY, Assembly, split
from hearth.client.link import CANCELLED, CLOSING_SECONDS, InferCall, Link
from hearth.client.messages import Failure, Job, Outcome
from hearth.client.status import NO_ANSWER, FirstStatus
from hearth.contract.ml_service_pb2 import InferResponse
from hearth.errors import one_line


class ReadPart(NamedTuple):
    """One part of an answer, as it was read."""

    outcome: Outcome
    entry: str | None
    """Id of the entry of a composed request; None: the request's own."""
    is_last: bool


class PartCall:
    """Reads a message from gRPC only when a part is asked for.

    So HTTP/2's flow control holds a node back whose parts nobody takes: it can't go on by more
    than the stream's window, and requests on other streams of the connection are unharmed. The
    end of the call is the end of the request: a node of hearth stops working on it at once.
    ``began`` is told once: of the first part, or of the failure that came instead.
    """

    def __init__(
        self,
        call: InferCall,
        job: Job,
        affinity: ModelAffinity | None,
        began: Callable[[Failure | None], None],
    ) -> None:
        self.job = job
        self.affinity = affinity
        self.ended: Failure | None = None
        """Reason why no more parts come."""
        self._call = call
        self._began = began
        self._has_begun = False
        self._status = FirstStatus(call)
        self._assembly = Assembly(job.bare())
        self._messages = cast("AsyncGenerator[InferResponse, None]", aiter(call))
        self._loop = asyncio.get_running_loop()
        self._waiting_since: float | None = None
        self._writer = asyncio.create_task(self._write())

    @property
    def heard(self) -> float | None:
        """Loop time since which a part is waited for; None where nobody waits."""
        return self._waiting_since

    async def next(self) -> ReadPart:
        """Read the next part; a failure of the request is its last one."""
        try:
            part = await self._next()
        except grpc.aio.AioRpcError as error:
            part = self._end(self.ended or self._status.failure(error))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self.ended is None or (task is not None and task.cancelling()):
                raise
            part = self._end(self.ended)
        finally:
            self._waiting_since = None
        if not self._has_begun:
            self._has_begun = True
            self._began(part.outcome.error if part.entry is None else None)
        return part

    def give_up(self, before: float, failure: Failure) -> None:
        """End a request that has had no part since a time, of the loop's clock.

        One that has begun is left to its deadline: nobody else can go on with it.
        """
        since = self._waiting_since
        if not self._has_begun and since is not None and since < before:
            self.abort(failure)

    def abort(self, failure: Failure) -> None:
        """Cancel the call: the next part is ``failure``."""
        if self.ended is None:
            self.ended = failure
        self._call.cancel()

    async def close(self) -> None:
        """Cancel the call."""
        self.abort(CANCELLED)
        self._writer.cancel()
        await asyncio.wait({self._writer}, timeout=CLOSING_SECONDS)
        with suppress(RuntimeError):  # it is being read
            await self._messages.aclose()

    async def _next(self) -> ReadPart:
        if self.ended is not None:
            return self._end(self.ended)
        while True:
            self._waiting_since = self._loop.time()
            message = await anext(self._messages, NO_ANSWER)
            if isinstance(message, Failure):
                return self._end(message)
            if message is None:  # gRPC couldn't read it
                return self._end(Failure("INTERNAL", "the node sent what is no answer"))
            part = self._assembly.add_part(message)
            if part is not None:
                self._assembly.forget()
                return ReadPart(part, message.meta.get(ENTRY), message.is_final)

    def _end(self, failure: Failure) -> ReadPart:
        self.ended = self.ended or failure
        return ReadPart(Outcome(self._assembly.job, error=failure), None, is_last=True)

    async def _write(self) -> None:
        try:
            for message in split(self.job, "1"):
                await self._call.write(message)
            await self._call.done_writing()
            self.job = self._assembly.job  # what is sent is kept no longer
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the call has ended: the reader knows why
        except (TypeError, ValueError) as error:
            self.abort(Failure("INVALID_ARGUMENT", f"it can't be sent: {one_line(error)}"))


class SingleCall(Protocol):
    """A call that carries one request."""

    ended: Failure | None

    @property
    def heard(self) -> float | None:
        """Loop time at which the node last sent anything; None where nothing is waited for."""

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
        """Return the loop time at which the node last sent anything; None: nobody waits."""
        times = [call.heard for call in self._open()]
        return max((time for time in times if time is not None), default=None)

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
