"""One Infer stream: many requests in, their answers out as they are ready."""

import asyncio
import time
from contextlib import aclosing

from google.protobuf.message import DecodeError

from hearth.batching import Timings
from hearth.contract import ml_service_pb2 as pb
from hearth.errors import InvalidInput, Unavailable
from hearth.rpc import framing
from hearth.rpc.response_writer import NOTHING, Answer, Context, ResponseWriter
from hearth.rpc.responses import failure, responses
from hearth.rpc.timeouts import StreamTimeouts
from hearth.serving.admission import Admission
from hearth.serving.request_metrics import CANCELLED, OK, RequestMetrics
from hearth.serving.router import Router
from hearth.serving.status import Status, status_of
from hearth.tasks.task import Part, Parts, Request

LOOKS = 10
"""In how many parts a stream waits for its half-close: a loop that stands still takes the time
of one part alone, and what has come meanwhile is seen in the next."""

MIB = 1024 * 1024
LARGEST_HELD = 256 * MIB
"""Bytes of one stream's incomplete requests, where a single one may not take more."""


class Source:
    """Whose requests they are; in weak references, so that nothing outlives its stream."""


class InferStream:
    """Serves one stream: reads, routes, writes; ends with a status where the contract says so."""

    def __init__(
        self,
        router: Router,
        admission: Admission,
        metrics: RequestMetrics,
        context: Context,
        *,
        largest_request: int,
        timeouts: StreamTimeouts,
    ) -> None:
        self._router = router
        self._metrics = metrics
        self._context = context
        remaining = context.time_remaining()
        self._deadline = None if remaining is None else time.monotonic() + remaining
        self._source = Source()  # requests of different streams take turns
        self._budget = admission.open()
        self._assembler = framing.Assembler(
            self._budget,
            largest_request=largest_request,
            largest_held=max(LARGEST_HELD, largest_request + MIB),
        )
        self._timeouts = timeouts
        self._writer = ResponseWriter(context, self._budget, timeouts.reader, self._leave)
        self._loop = asyncio.get_running_loop()
        self._served_by = asyncio.current_task()
        self._requests: dict[int, asyncio.Task[None]] = {}
        self._number = 0
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
                if self._stall_watch is None and self._assembler.is_waiting:
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
        if self._assembler.is_waiting:
            self._watch_for_stalls()

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
        if isinstance(incoming, framing.CompleteRequest):
            size = incoming.weight
            if (refusal := self._budget.refusal(size)) is not None:
                incoming, size = (
                    framing.RejectedRequest(incoming.correlation_id, refusal, incoming.task),
                    0,
                )
        self._budget.take(size)
        self._number = number = self._number + 1
        self._requests[number] = self._loop.create_task(self._serve(number, incoming, size))

    async def _serve(self, number: int, incoming: framing.Incoming, size: int) -> None:
        try:
            answer = await self._answer(incoming)
            del incoming  # who sends may go on sending for long: the answers of others
            await self._writer.send(answer, size)
        finally:
            # By itself: a callback would cost each request another turn of the loop.
            del self._requests[number]

    async def _answer(self, incoming: framing.Incoming) -> Answer:
        """What a request is told, whatever becomes of it."""
        started, timings, code = time.perf_counter(), Timings(), CANCELLED
        try:
            if isinstance(incoming, framing.CompleteRequest):
                correlation_id, task, payload, mime, meta, _ = incoming
                request = Request(task, payload, mime, meta, self._deadline, self._source, timings)
                result = await self._router.answer(request)
                if isinstance(result, Parts):
                    answer = await self._parts(correlation_id, result)
                else:
                    answer = Answer(responses(correlation_id, result), len(result.body))
                code = OK
                self._budget.served()
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
            self._metrics.count(self._router.name_of(incoming.task), code, seconds, timings)
        if not await self._alone():
            cid = incoming.correlation_id
            return Answer(failure(cid, status), len(cid) + len(status.message))
        self._status = self._status or status
        return NOTHING

    async def _parts(self, correlation_id: str, parts: Parts) -> Answer:
        """Send the parts of an answer as they are ready; the last one is for the caller to send."""
        left = parts.count
        async with aclosing(parts):
            async for part in parts:
                left -= 1
                answer = self._part(correlation_id, part, final=not left)
                if not left:
                    return answer
                # Without waiting for the client to take it: the work goes on, and what it
                # holds of the node (a decoded picture) is free as soon as it is done.
                self._writer.put(answer, 0, last=False)
                self._write_aside()
        raise AssertionError("a composed answer had too few parts")

    def _write_aside(self) -> None:
        if self._writer.writer is None:
            self._number = number = self._number + 1
            self._requests[number] = self._loop.create_task(self._write(number))

    async def _write(self, number: int) -> None:
        try:
            await self._writer.write()
        finally:
            del self._requests[number]

    def _part(self, correlation_id: str, part: Part, *, final: bool) -> Answer:
        told = {"entry": part.entry, "task": part.task}
        code = OK
        if part.result is not None:
            result = part.result._replace(meta={**part.result.meta, **told})
            answer = Answer(responses(correlation_id, result, final=final), len(result.body))
        else:
            status = status_of(part.error or AssertionError("a part without an answer"))
            code = status.name
            status = status._replace(meta={**status.meta, **told})
            size = len(correlation_id) + len(status.message)
            answer = Answer(failure(correlation_id, status, final=final), size)
        self._metrics.count(part.task, code, part.seconds, part.timings)
        return answer

    async def _alone(self) -> bool:
        """Whether the stream carried this one request and no other will come."""
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


def _is_the_end(error: BaseException) -> bool:
    """Whether the request ends with its stream, or with the process, and needs no answer."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        # Else it is somebody else's cancellation, which came here instead of an answer.
        return task is None or task.cancelling() > 0
    return isinstance(error, GeneratorExit | KeyboardInterrupt | SystemExit)
