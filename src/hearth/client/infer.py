"""Many jobs over one Infer call: outcomes as they come, never more than a window in flight."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from functools import partial

from hearth.client.drawing import as_async
from hearth.client.link import CLOSING_SECONDS, InferCall, Link, StreamEnded
from hearth.client.messages import Job, Outcome

Jobs = AsyncIterable[Job] | Iterable[Job]


class InferStream:
    """Every job gets exactly one outcome.

    A job holds a slot until the caller has its outcome, and one more is drawn while it
    waits for a slot (so that the end of the jobs is seen, and told to the node, at once):
    memory is bounded on both sides.
    """

    def __init__(self, call: InferCall, jobs: Jobs, window: int) -> None:
        self._link = Link(call)
        self._jobs = jobs
        self._slots = asyncio.Semaphore(window)
        self._settled: asyncio.Queue[Outcome | None] = asyncio.Queue()
        self._owed = 0
        self._all_drawn = False

    async def outcomes(self) -> AsyncGenerator[Outcome, None]:
        """Outcomes as they come; an exception of the jobs' iterator ends them."""
        drawing = asyncio.create_task(self._draw())
        try:
            while (outcome := await self._settled.get()) is not None:
                self._slots.release()
                yield outcome
            await drawing  # raises what the jobs' iterator raised
            await self._link.read_to_end(CLOSING_SECONDS)
        finally:
            drawing.cancel()
            await asyncio.gather(drawing, self._link.close(), return_exceptions=True)

    async def _draw(self) -> None:
        try:
            async for job in as_async(self._jobs):
                await self._slots.acquire()
                self._owed += 1
                self._link.send(job).add_done_callback(partial(self._settle, job.bare()))
        except BaseException:
            self._settled.put_nowait(None)
            raise
        self._link.finish()
        self._all_drawn = True
        self._finish_if_done()

    def _settle(self, job: Job, answer: "asyncio.Future[Outcome]") -> None:
        error = answer.exception()
        if isinstance(error, StreamEnded):
            self._settled.put_nowait(Outcome(job, error=error.failure))
        else:
            self._settled.put_nowait(answer.result())
        self._owed -= 1
        self._finish_if_done()

    def _finish_if_done(self) -> None:
        if self._all_drawn and not self._owed:
            self._settled.put_nowait(None)
