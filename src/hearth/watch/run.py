"""Frames from a source to a node, and what it saw to where it is to be seen."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, nullcontext
from typing import Any, NamedTuple

from hearth.client import Client, Connection, Failure, Job, Outcome, TaskInfo
from hearth.errors import HearthError, SetupError, Unavailable
from hearth.watch.display import Display, FrameCounter
from hearth.watch.drawing import DrawingStyle, drawn
from hearth.watch.frames import BrokenFrame, FrameSource, SourceFrame
from hearth.watch.latest_frame import LatestFrame
from hearth.watch.requests import FrameEncoding, FrameRequests, encode_frame
from hearth.watch.sinks import AnsweredFrame, FrameSink

FIRST_FRAMES = 3
"""Frames that fail before one is done: then all will."""


class WatchArguments(NamedTuple):
    """Task, options and form in which frames are sent and shown."""

    task: str
    options: Mapping[str, str] = {}
    node: str | None = None
    longest: int | None = None
    raw: bool = False
    most: int | None = None
    """Frames after which to end."""
    look: DrawingStyle = DrawingStyle()


class _Shot(NamedTuple):
    """A frame on its way; the tag of its job."""

    turn: int
    frame: SourceFrame | BrokenFrame
    size: tuple[int, int] = (1, 1)
    """Width and height as sent."""


def summary(counter: FrameCounter, sinks: Sequence[FrameSink]) -> str:
    """Return what became of the frames, and where they were written, in one line."""
    places = ", ".join(sink.place for sink in sinks if sink.place)
    return f"{counter.summary()}: {places}" if places and counter.answered else counter.summary()


class WatchRun:
    """One watch under way, on an asyncio loop."""

    def __init__(
        self,
        arguments: WatchArguments,
        source: FrameSource,
        sinks: Sequence[FrameSink],
        display: Display,
        counter: FrameCounter,
        *,
        on_ready: Callable[[TaskInfo], None] = lambda task: None,
    ) -> None:
        """Prepare a run; ``on_ready`` is told of the task once a node is found."""
        self._arguments, self._source, self._sinks = arguments, source, sinks
        self._display, self._counter, self._on_ready = display, counter, on_ready
        # What isn't thread-safe has one thread each: the source, and what is written.
        self._reading = ThreadPoolExecutor(1, "source")
        self._drawing = ThreadPoolExecutor(1, "drawing")
        self._latest: LatestFrame | None = None
        self._target = ""
        self._early: dict[int, Outcome] = {}
        self._next = 0
        self._held: list[Outcome] = []
        self._is_proven = False
        self._last_error: Failure | None = None

    async def run(self) -> None:
        """Run to the end of the source, or until the window is closed."""
        window = self._display.window
        tasks = {asyncio.create_task(self._work())}
        (work,) = tasks
        if window is not None:
            tasks.add(asyncio.create_task(window.run()))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
                if window is not None and self._source.stills:
                    await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if window is not None:
                window.close()
            self._drawing.shutdown()
            self._reading.shutdown()
            if self._latest is None or self._latest.stopped:
                self._source.close()

    async def _work(self) -> None:
        arguments = self._arguments
        async with Client(arguments.node or ()) as client:
            node = await client.ready(arguments.task)
        self._target = node.target
        self._on_ready(node.capabilities.tasks[arguments.task])
        requests = FrameRequests(
            arguments.task, node, self._source, arguments.options, raw=arguments.raw
        )
        gate = asyncio.Semaphore(requests.in_flight)
        with LatestFrame(self._source) if self._source.live else nullcontext() as self._latest:
            async with Connection(node.target) as connection:
                jobs = self._jobs(requests, gate)
                outcomes = connection.infer_many(jobs, window=requests.in_flight)
                async with aclosing(outcomes):
                    async for outcome in outcomes:
                        gate.release()
                        self._early[outcome.job.tag.turn] = outcome
                        await self._take_ready()
                        if self._is_enough():
                            break
        await self._take_ready()
        if not self._is_proven and any(map(_is_hopeless, self._held)):
            raise self._all_failed()
        await self._release()

    async def _jobs(self, requests: FrameRequests, gate: asyncio.Semaphore) -> AsyncIterator[Job]:
        how = FrameEncoding(self._arguments.longest, self._arguments.raw, requests.mimes)
        turn = 0
        while True:
            await gate.acquire()
            frame = await self._frame()
            if frame is None:
                return
            if isinstance(frame, BrokenFrame):
                job = Job(requests.task, b"", tag=_Shot(turn, frame))
                self._early[turn] = Outcome(job, error=Failure("UNREADABLE", frame.reason))
                gate.release()
            else:
                sent = await self._beside(self._reading, encode_frame, frame, how)
                meta = requests.meta(frame.number, frame.moment)
                shot = _Shot(turn, frame, (sent.width, sent.height))
                yield Job(requests.task, sent.payload, sent.mime, meta, shot)
            turn += 1

    async def _frame(self) -> SourceFrame | BrokenFrame | None:
        if self._latest is not None:
            return await self._latest.next()
        frame: SourceFrame | BrokenFrame | None = await self._beside(
            self._reading, self._source.read
        )
        return frame

    async def _take_ready(self) -> None:
        """Take what has its turn; answers come in the order in which they are ready."""
        while not self._is_enough() and (outcome := self._early.pop(self._next, None)) is not None:
            self._next += 1
            await self._take(outcome)

    def _is_enough(self) -> bool:
        most, counter = self._arguments.most, self._counter
        return most is not None and counter.answered + counter.failed >= most

    async def _take(self, outcome: Outcome) -> None:
        if self._latest is not None:
            self._counter.skipped = self._latest.skipped
        if outcome.meta.get("dropped") == "true":
            self._counter.refused += 1
            await self._show(outcome)
            return
        if outcome.error is not None and isinstance(outcome.job.tag.frame, SourceFrame):
            self._check_stream(outcome.error)
        self._held.append(outcome)
        if not self._is_proven:
            self._is_proven = _is_done(outcome)
            if not self._is_proven and (hopeless := sum(map(_is_hopeless, self._held))):
                # Whether it is these frames' own fault will be seen.
                if hopeless >= FIRST_FRAMES:
                    raise self._all_failed()
                return
        # Whether a failure is this frame's own or the whole stream's, the next one tells.
        is_doubtful = outcome.error is not None and isinstance(outcome.job.tag.frame, SourceFrame)
        await self._release(but=1 if is_doubtful else 0)

    async def _release(self, but: int = 0) -> None:
        """Count and show what was held back, all but the last ones."""
        while len(self._held) > but:
            outcome = self._held.pop(0)
            self._count(outcome)
            await self._show(outcome)

    def _check_stream(self, error: Failure) -> None:
        """Raise Unavailable once the call is over: all that is still asked fails alike."""
        if error is self._last_error:
            done = f"{self._counter.answered} frames in {self._counter.seconds:.1f} s"
            raise Unavailable(f"{self._target} ended the stream after {done}: {error}")
        self._last_error = error

    def _all_failed(self) -> HearthError:
        first = next(filter(_is_hopeless, self._held))
        return HearthError(f"{self._target}: {_troubles(first)[0]}")

    def _count(self, outcome: Outcome) -> None:
        troubles, frame = _troubles(outcome), outcome.job.tag.frame
        if troubles:
            self._counter.failed += 1
        else:
            self._counter.answer()
        self._display.note(frame.name or f"frame {frame.number}", "; ".join(troubles))

    async def _show(self, outcome: Outcome) -> None:
        seen, picture = await self._beside(self._drawing, self._written, outcome)
        await self._display.show(seen, picture)

    def _written(self, outcome: Outcome) -> tuple[AnsweredFrame, bytes | None]:
        """Draw and write a frame; return it with the window's picture of it."""
        shot: _Shot = outcome.job.tag
        window = self._display.window
        seen = AnsweredFrame(shot.frame, outcome)
        is_shown = isinstance(shot.frame, SourceFrame) and outcome.meta.get("dropped") != "true"
        if is_shown and (window is not None or any(sink.wants_pixels for sink in self._sinks)):
            assert isinstance(shot.frame, SourceFrame)
            look = self._arguments.look
            seen = seen._replace(drawn=drawn(shot.frame.pixels, outcome, shot.size, look))
        try:
            for sink in self._sinks:
                sink.write(seen)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise SetupError(f"can't write: {(error.strerror or str(error)).lower()}") from None
        if window is None or seen.drawn is None:
            return seen, None
        return seen, window.fit(seen.drawn)

    async def _beside(self, pool: ThreadPoolExecutor, work: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(pool, work, *arguments)


def _troubles(outcome: Outcome) -> list[str]:
    """List what failed, all of it or the entries that did."""
    if outcome.error is not None:
        return [str(outcome.error)]
    return [f"{name}: {part.error}" for name, part in outcome.parts.items() if part.error]


def _is_done(outcome: Outcome) -> bool:
    """Tell whether the node had something to say of a frame."""
    parts = outcome.parts.values()
    return outcome.error is None and (not parts or any(part.error is None for part in parts))


def _is_hopeless(outcome: Outcome) -> bool:
    """Tell whether the node got a frame and had nothing to say of it."""
    return isinstance(outcome.job.tag.frame, SourceFrame) and not _is_done(outcome)
