"""One Infer stream: many requests in, their answers out as they are ready."""

import asyncio
import time
from contextlib import aclosing

from google.protobuf.message import DecodeError

from hearth.contract import ml_service_pb2 as pb
from hearth.errors import DeadlinePassed, InvalidInput, Unavailable
from hearth.rpc.cancellation import CANCEL, TARGET, Cancellation
from hearth.rpc.chunked_request import Incoming, RejectedRequest
from hearth.rpc.framing import Assembler
from hearth.rpc.response_writer import Context, ResponseWriter, Window
from hearth.rpc.responses import Answer, failure, part_responses, responses
from hearth.rpc.timeouts import StreamTimeouts
from hearth.serving.part_stream import PartStream
from hearth.serving.service import InferenceService
from hearth.serving.status import OK, Status, code_of, is_the_end, status_of
from hearth.tasks.answer import Delta, Result
from hearth.tasks.task import Request

LOOKS = 10
"""Number of parts in which a stream waits for its half-close: a loop that stands still takes the
time of one part alone, and what has come meanwhile is seen in the next."""

MIB = 1024 * 1024
LARGEST_HELD = 256 * MIB
"""Bytes of one stream's incomplete requests, where a single one may not take more."""


NO_RESULT = Result(b"", "", "")


class StreamSource:
    """Identity of a stream as a source; in weak references, so that nothing outlives its stream."""


class InferStream:
    """Serves one stream: reads, asks the service, writes; ends with a status where the contract
    says so.
    """

    def __init__(
        self,
        service: InferenceService,
        context: Context,
        *,
        largest_request: int,
        timeouts: StreamTimeouts,
    ) -> None:
        self._service = service
        self._context = context
        remaining = context.time_remaining()
        self._deadline = None if remaining is None else time.monotonic() + remaining
        self._source = StreamSource()  # requests of different streams take turns
        self._budget = service.admission.open()
        self._assembler = Assembler(
            self._budget,
            largest_request=largest_request,
            largest_held=max(LARGEST_HELD, largest_request + MIB),
        )
        self._timeouts = timeouts
        self._writer = ResponseWriter(
            context,
            self._budget,
            self._leave,
            reader_seconds=timeouts.reader,
            part_seconds=timeouts.parts,
        )
        self._loop = asyncio.get_running_loop()
        self._served_by = asyncio.current_task()
        self._requests: dict[int, asyncio.Task[None]] = {}
        self._number = 0
        self._cancellation = Cancellation(self._requests)
        self._aside: asyncio.Task[None] | None = None
        self._company = asyncio.Event()  # half-closed, or more than one request
        self._half_closed = False
        self._stall_watch: asyncio.TimerHandle | None = None
        self._status: Status | None = None
        self._cut_off: Status | None = None

    async def run(self) -> Status | None:
        """Answer every request of the stream; returns when all answers are written.

        Returns the status that the RPC is to end with, or None for OK.
        """
        try:
            await self._read()
            await self._all_answered()
            return None if self._writer.broken else self._status
        except asyncio.CancelledError:
            if self._cut_off is None or self._served_by is None:
                raise
            self._served_by.uncancel()
            return self._cut_off
        finally:
            await self._end()

    def cut_off(self, why: str = "the node has stopped") -> None:
        """End the stream as UNAVAILABLE, whatever is in flight."""
        if self._cut_off is None and self._served_by is not None:
            self._cut_off = status_of(Unavailable(why))
            self._served_by.cancel()

    def _leave(self) -> None:
        # gRPC tells it once the client reads on, and keeps one message until then.
        self.cut_off("the client took no answers for too long")

    async def _end(self) -> None:
        """Leave nothing behind; there is something left only where the client left early."""
        self._writer.close()
        self._stop_watching()
        # gRPC takes no status while a write is cancelled half-way: it is waited for, without
        # its part of the room, until the client takes it or leaves.
        spared = self._writer.writer if self._cut_off is not None else None
        self._aside = None
        for request in list(self._requests.values()):
            if request is not spared:
                request.cancel()
        self._budget.close()
        await self._all_answered()

    async def _all_answered(self) -> None:
        while self._requests:
            await asyncio.wait(self._requests.values())
            # Who was cancelled before it began couldn't leave by itself.
            done = [number for number, task in self._requests.items() if task.done()]
            for number in done:
                self._requests.pop(number, None)

    async def _read(self) -> None:
        try:
            # Nothing of a message stays in this frame while it waits for the next.
            while self._take(await self._context.read()):
                if self._budget.is_full:
                    self._stop_watching()  # it's us who don't read the next chunk
                    await self._budget.room()
                if self._stall_watch is None and self._assembler.open_count:
                    self._watch_for_stalls()
        except DecodeError:
            # Nothing after it can be read; what came before is still answered.
            self._status = status_of(InvalidInput("a message of the stream is no InferRequest"))
        self._half_closed = True
        self._stop_watching()
        self._company.set()
        for incoming in self._assembler.finish():
            self._begin(incoming)

    def _watch_for_stalls(self) -> None:
        self._stall_watch = self._loop.call_later(self._timeouts.chunk, self._fail_stalled)

    def _stop_watching(self) -> None:
        if self._stall_watch is not None:
            self._stall_watch.cancel()
            self._stall_watch = None

    def _fail_stalled(self) -> None:
        self._stall_watch = None
        for broken in self._assembler.stalled():
            self._begin(broken)
        if self._assembler.open_count:
            self._watch_for_stalls()

    def _take(self, message: pb.InferRequest | object) -> bool:
        """Begin what a message completes; give False at the end of the stream."""
        if not isinstance(message, pb.InferRequest):
            return False
        for incoming in self._assembler.feed(message):
            self._begin(incoming)
        if self._assembler.begun > 1:
            self._company.set()
        return True

    def _begin(self, incoming: Incoming) -> None:
        self._number = number = self._number + 1
        size = 0
        if not isinstance(incoming, Request):
            self._budget.take(0)
        elif incoming.task == CANCEL:
            self._budget.take(0)  # it makes room, so it is never refused for want of it
        elif (refusal := self._budget.try_take(incoming.size)) is not None:
            incoming = RejectedRequest(incoming.correlation_id, refusal, incoming.task)
        else:
            size = incoming.size
            incoming.deadline, incoming.source = self._deadline, self._source
            self._cancellation.answering[number] = incoming.correlation_id
        self._requests[number] = self._loop.create_task(self._serve(number, incoming, size))

    async def _serve(self, number: int, incoming: Incoming, size: int) -> None:
        try:
            messages, answer_size = await self._answer(number, incoming)
            del incoming  # who sends may go on sending for long: the answers of others
            await self._writer.send(messages, answer_size, size)
        finally:
            # By itself: a callback would cost each request another turn of the loop.
            del self._requests[number]

    async def _answer(self, number: int, incoming: Incoming) -> Answer:
        """Give the last messages of a request's answer, whatever becomes of it."""
        correlation_id = incoming.correlation_id
        try:
            if not isinstance(incoming, Request):
                self._service.reject(incoming.task, incoming.error)
                status = status_of(incoming.error)
            elif incoming.task == CANCEL:
                self._call_off(incoming.meta.get(TARGET, ""))
                return responses(correlation_id, NO_RESULT), len(correlation_id)
            else:
                answer = await self._service.infer(incoming, self._budget)
                if isinstance(answer, Result):
                    return responses(correlation_id, answer), len(answer.body)
                return await self._send_parts(number, correlation_id, answer)
        except BaseException as error:  # also a panic in a native library
            called_off = self._cancellation.as_called_off(number, error)
            if is_the_end(called_off):
                raise
            status = status_of(called_off)
            del called_off  # its traceback holds this frame, and that the payload
        finally:
            self._cancellation.done(number)
        if not await self._alone():
            size = len(correlation_id) + len(status.message)
            return failure(correlation_id, status), size
        self._status = self._status or status
        return (), 0

    async def _send_parts(self, number: int, correlation_id: str, parts: PartStream) -> Answer:
        """Send the parts of an answer as they are ready; the last one is for the caller to send.

        The work goes on while they are written, as far as the window of the request lets it.
        """
        window = Window()
        try:
            async with aclosing(parts):
                async for part in parts:
                    if isinstance(part, Delta):
                        self._writer.put_delta(correlation_id, part, window)
                    else:
                        messages, size = part_responses(correlation_id, part)
                        if part.is_last:
                            return messages, size
                        self._writer.put_part(messages, size, window)
                    self._write_aside()
                    while window.is_full:
                        await parts.in_time(window.room())
        except (DeadlinePassed, asyncio.CancelledError) as error:
            called_off = self._cancellation.as_called_off(number, error)
            try:
                if isinstance(called_off, asyncio.CancelledError):
                    raise
                if (result := parts.so_far()) is None:
                    raise called_off from None
            finally:
                del called_off  # as above
            return responses(correlation_id, result), len(result.body)
        raise AssertionError("a streamed answer had no last part")

    def _write_aside(self) -> None:
        # Once for all that a producer gives before it lets anybody else run.
        if self._writer.writer is None and (self._aside is None or self._aside.done()):
            self._number = number = self._number + 1
            self._aside = self._requests[number] = self._loop.create_task(self._write(number))

    async def _write(self, number: int) -> None:
        try:
            await self._writer.write()
        finally:
            del self._requests[number]

    def _call_off(self, target: str) -> None:
        code = OK
        try:
            if not self._cancellation.call_off(target):
                self._begin(self._assembler.call_off(target))
        except InvalidInput as error:
            code = code_of(error).grpc
            raise
        finally:
            self._service.metrics.count(CANCEL, code, 0.0, None)

    async def _alone(self) -> bool:
        """Find out whether the stream carried this one request and no other will come."""
        if not self._company.is_set():
            # However full the node is: who isn't read on can't half-close.
            self._budget.exempt(True)
            try:
                await self._wait_for_company()
            finally:
                self._budget.exempt(False)
        return self._half_closed and self._assembler.begun == 1

    async def _wait_for_company(self) -> None:
        for _ in range(LOOKS):
            try:
                async with asyncio.timeout(self._timeouts.company / LOOKS):
                    await self._company.wait()
            except TimeoutError:
                continue
            return
