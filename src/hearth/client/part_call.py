"""A request whose answer is read part by part, over an Infer call of its own."""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import NamedTuple, cast

import grpc.aio

from hearth.client.affinity import ModelAffinity
from hearth.client.assembly import ENTRY, Assembly
from hearth.client.link import CANCELLED, CLOSING_SECONDS, InferCall
from hearth.client.messages import Failure, Job, Outcome
from hearth.client.outgoing import split
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
        self._reading_since = math.inf
        self._writer = asyncio.create_task(self._write())

    @property
    def heard(self) -> float:
        """Loop time since which the node has owed something: now, where nobody reads."""
        return min(self._reading_since, self._loop.time())

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
            self._reading_since = math.inf
        if not self._has_begun:
            self._has_begun = True
            self._began(part.outcome.error if part.entry is None else None)
        return part

    def give_up(self, before: float, failure: Failure) -> None:
        """End a request that has had no part since a time, of the loop's clock.

        One that has begun is left to its deadline: nobody else can go on with it.
        """
        if not self._has_begun and self.heard < before:
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
            self._reading_since = self._loop.time()
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
