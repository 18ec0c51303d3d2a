"""The parts of one answer on their way to a door: in time, measured, and counted at the end."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Self, TypeVar

from hearth.errors import DeadlinePassed
from hearth.serving.admission import StreamBudget
from hearth.serving.request_metrics import RequestMetrics
from hearth.serving.router import add_times
from hearth.serving.status import CANCELLED, DEADLINE_EXCEEDED, INTERNAL, OK, code_of, is_the_end
from hearth.tasks.answer import AnswerStream, Delta, Part, Result
from hearth.tasks.options import STREAM
from hearth.tasks.task import Request

T = TypeVar("T")


class PartStream:
    """Gives the parts of an answer as they are ready, until the request's deadline.

    Deltas are passed over unless the request asks for them. Iterate once, to the part that is
    the last or to an error, and close it: that frees the producer and counts the request.
    """

    def __init__(
        self,
        answer: AnswerStream,
        request: Request,
        *,
        task: str,
        started: float,
        budget: StreamBudget,
        metrics: RequestMetrics,
    ) -> None:
        self._parts = answer.parts
        self._so_far = answer.so_far
        self._task = task
        self._deadline = None if answer.keeps_time else request.deadline
        self._timings = request.timings
        self._wants_deltas = STREAM.read(request.meta)
        self._budget = budget
        self._metrics = metrics
        self._started = started
        self._first: float | None = None
        self._before = started
        self._code = CANCELLED
        self._closed = False
        budget.answer_in_parts(1)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Part | Delta:
        """Wait for the next part; at the deadline, for what there is as the last one.

        Raises DeadlinePassed where that is of no use, and whatever a request may.
        """
        try:
            while True:
                part = await self.in_time(anext(self._parts))
                if isinstance(part, Part):
                    return self._passed(part)
                if self._wants_deltas:
                    self._note_time()
                    return part
        except StopAsyncIteration:
            self._code = INTERNAL.grpc
            raise AssertionError("a streamed answer had no last part") from None
        except DeadlinePassed:
            self._code = DEADLINE_EXCEEDED
            await self._parts.aclose()
            if (result := self.so_far()) is None:
                raise
            return Part(result, is_last=True)
        except BaseException as error:
            if not is_the_end(error):
                self._code = code_of(error).grpc
            raise

    async def in_time(self, waiting: Awaitable[T]) -> T:
        """Wait for something at most until the request's deadline; raises DeadlinePassed."""
        if self._deadline is None:
            return await waiting
        try:
            async with asyncio.timeout(self._deadline - time.monotonic()) as limit:
                return await waiting
        except TimeoutError:
            if not limit.expired():
                raise  # somebody else's
            self._code = DEADLINE_EXCEEDED
            raise DeadlinePassed("the deadline passed") from None

    def so_far(self) -> Result | None:
        """Give what there is of an answer that was cut short, where it is of use; close first."""
        result = self._so_far()
        return None if result is None else self._timed(result)

    async def aclose(self) -> None:
        """End what still runs for it, and count the request."""
        if self._closed:
            return
        self._closed = True
        try:
            await self._parts.aclose()
        finally:
            self._budget.answer_in_parts(-1)
            seconds = time.perf_counter() - self._started
            self._metrics.count(self._task, self._code, seconds, self._timings)

    def _passed(self, part: Part) -> Part:
        self._note_time()
        if part.task:
            code = OK if part.error is None else code_of(part.error).grpc
            self._metrics.count(part.task, code, part.seconds, part.timings)
        if not part.is_last:
            return part
        self._code = OK
        self._budget.served()
        return part if part.result is None else part._replace(result=self._timed(part.result))

    def _note_time(self) -> None:
        now = time.perf_counter()
        if self._first is None:
            self._first = now - self._started
            self._metrics.note_first_part(self._task, self._first)
        else:
            self._metrics.note_part(self._task, now - self._before)
        self._before = now

    def _timed(self, result: Result) -> Result:
        meta = {**result.meta}
        if "lat_ms" not in meta:  # a part that was a request of its own knows better
            add_times(meta, time.perf_counter() - self._started, self._timings)
        if self._first is not None:
            meta["first_ms"] = f"{self._first * 1000:.2f}"
        return result._replace(meta=meta)
