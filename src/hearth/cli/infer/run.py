"""Runs the inputs of ``hearth infer`` through the nodes there are."""

import asyncio
import math
import os
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from hearth.blocking import run_blocking
from hearth.catalog import RAW
from hearth.cli.console import complain, hint, notes, output, warn
from hearth.cli.exit_codes import FAILURE, OK
from hearth.cli.infer.async_writer import AsyncWriter
from hearth.cli.infer.expand import expand
from hearth.cli.infer.inputs import gather
from hearth.cli.infer.parts_report import PartsReport
from hearth.cli.infer.report import Report, options_as_json
from hearth.cli.infer.resume import RunIdentity
from hearth.cli.infer.target import AnswerTarget, report_for
from hearth.cli.options import warn_of_unknown
from hearth.cli.signals import SecondInterrupt, StopSignals
from hearth.client import Answer, Client, Failure, Job, Node, Outcome, TaskInfo
from hearth.errors import HearthError, SettingsError, Unavailable, UnknownTask


class InferArguments(NamedTuple):
    """Arguments of one run."""

    task: str
    files: Sequence[str]
    texts: Sequence[str]
    options: Mapping[str, str]
    nodes: Sequence[str] = ()
    timeout: float | None = None
    """Seconds for all inputs together, waiting for a node included."""
    jobs: int | None = None
    """Requests in flight; None: as many as keep the nodes busy."""
    target: AnswerTarget = AnswerTarget()
    model_id: str | None = None
    """The model whose answers are wanted; None: of any, but all of one."""


def run(arguments: InferArguments) -> int:
    """Run to the end and return the exit code.

    Raises HearthError, and OSError for what can't be read or written.
    """
    stopping = StopSignals()
    running = InferRun(arguments)
    try:
        with stopping:
            asyncio.run(_run(running, stopping))
    except KeyboardInterrupt:
        complain(running.last_words())
        if running.is_stuck:
            os._exit(stopping.code)  # at its end Python would wait for what isn't read
        return stopping.code
    except BrokenPipeError:
        raise
    except OSError as error:
        words = f"{error.filename or running.place}: {(error.strerror or str(error)).lower()}"
        raise HearthError(f"{words}: {running.how_far()}" if running.done else words) from None
    return FAILURE if running.failed else OK


async def _run(running: "InferRun", stopping: StopSignals) -> None:
    def last_words() -> str:
        words = running.last_words()
        return f"hearth: {words}\n" if words else ""

    with SecondInterrupt(stopping, last_words):
        await running.run()


class InferRun:
    """One run under way, on an asyncio loop."""

    def __init__(self, arguments: InferArguments) -> None:
        self._arguments = arguments
        self._began = time.monotonic()
        self._report: Report | None = None
        self._is_told = False
        self.is_stuck = False
        """Whether nobody takes what is being written."""

    @property
    def done(self) -> int:
        """Number of inputs that are done."""
        return self._report.done if self._report is not None else 0

    @property
    def failed(self) -> int:
        """Number of inputs that failed."""
        return self._report.failed if self._report is not None else 0

    @property
    def place(self) -> str:
        """Place where answers are written."""
        return (self._report.place if self._report is not None else "") or "stdout"

    def how_far(self) -> str:
        """Tell how much is done, and how to go on."""
        return "nothing was asked yet" if self._report is None else self._report.how_far()

    def last_words(self) -> str:
        """Return what is said of an interrupted run; empty the second time."""
        is_told, self._is_told = self._is_told, True
        return "" if is_told else f"interrupted: {self.how_far()}"

    async def run(self) -> None:
        """Ask for all inputs, and write their answers."""
        arguments = self._arguments
        async with Client(arguments.nodes) as client:
            node = await self._ready(client, arguments.model_id)
            task = node.capabilities.tasks[arguments.task]
            warn_of_unknown(task, arguments.options)
            report = self._report = await run_blocking(partial(self._prepare, task))
            with report:
                if report.model_id is not None:
                    await self._find(client, report)
                report.begin()
                started = time.monotonic()
                if report.inputs:
                    await self._write(self._answers(client, task, report), report)
        _sum_up(report, time.monotonic() - started)

    async def _write(self, answers: AsyncGenerator[Answer, None], report: Report) -> None:
        writer: AsyncWriter[Answer] = AsyncWriter(report.add)
        try:
            async with aclosing(answers):
                await writer.follow(answers)
        finally:
            self.is_stuck = writer.is_stuck

    def _answers(
        self, client: Client, task: TaskInfo, report: Report
    ) -> AsyncGenerator[Answer, None]:
        arguments = self._arguments
        if isinstance(report, PartsReport):
            return self._parts(client, report)
        options = dict(arguments.options)
        if arguments.target.wants_vectors and "accept" in task.limits:
            options.setdefault("accept", RAW)
        return client.map(
            arguments.task,
            report.inputs,
            ordered=report.ordered,
            in_flight=arguments.jobs,
            within=math.inf if (left := self._left()) is None else left,
            model_id=report.model_id or arguments.model_id,
            options=options,
        )

    async def _parts(self, client: Client, report: Report) -> AsyncGenerator[Answer, None]:
        """Yield the parts of all answers, one input after the other."""
        arguments = self._arguments
        for index, source in enumerate(report.inputs):
            parts = client.stream(
                arguments.task,
                source,
                timeout=math.inf if (left := self._left()) is None else left,
                model_id=arguments.model_id,
                options=arguments.options,
            )
            try:
                async with aclosing(parts):
                    async for part in parts:
                        yield replace(part, index=index)
            except (HearthError, OSError, ValueError) as error:
                job = Job(arguments.task, b"", meta=arguments.options)
                yield Answer(source, index, "", Outcome(job, error=_failure(error)))

    async def _ready(self, client: Client, model_id: str | None = None) -> Node:
        """Find a node that can do the task; raises as ``Client.ready``.

        With --timeout it is waited for that long, for it may be restarting; unless all that
        are there can do other things.
        """
        task, left = self._arguments.task, self._left()
        try:
            async with asyncio.timeout(left):
                return await client.ready(task, model_id=model_id)
        except TimeoutError:
            pass  # why, it says below
        except (UnknownTask, Unavailable) as error:
            if left is None or (client.nodes and all(map(_is_settled, client.nodes))):
                raise
            if notes().is_terminal:
                hint(f"{error}; waiting for a node, up to {self._left():.0f} s")
        return await client.ready(task, self._left(), model_id=model_id)

    async def _find(self, client: Client, report: Report) -> None:
        """Wait for the model of an earlier run's answers; raises Unavailable where no node has it.

        SettingsError, where another is asked for.
        """
        of, asked = report.model_id, self._arguments.model_id
        if asked not in (None, of):
            raise SettingsError(
                f"{report.place}: its answers are of the model {of}, and --model-id is {asked}: "
                "leave one out, or --resume to replace them"
            )
        try:
            await self._ready(client, report.model_id)
        except Unavailable as error:
            raise Unavailable(
                f"{report.place}: its answers are of the model {report.model_id}: {error}; "
                "answers of two don't mix: leave --resume out to replace them"
            ) from None

    def _left(self) -> float | None:
        """Return the seconds that are left of --timeout; None without it."""
        limit = self._arguments.timeout
        return None if limit is None else max(0.0, self._began + limit - time.monotonic())

    def _prepare(self, task: TaskInfo) -> Report:
        """Look for the files, and at what an earlier run has left: not on the loop."""
        arguments = self._arguments
        inputs = gather(expand(arguments.files, task, warn), arguments.texts)
        identity = RunIdentity(arguments.task, options_as_json(arguments.options))
        target = arguments.target
        if target.is_plain and "stream" in task.limits and len(inputs) == 1:
            target = target._replace(stream=output().is_terminal)
        report = report_for(target, inputs, identity)
        if arguments.timeout is not None:
            report.advice["DEADLINE_EXCEEDED"] = "a longer --timeout gives it more"
        return report


def _failure(error: Exception) -> Failure:
    """Return why there is no answer, or no more of it, as the answers of a map tell it."""
    if isinstance(error, HearthError):
        return error.failure or Failure("UNAVAILABLE", str(error))
    if isinstance(error, OSError):
        return Failure("UNREADABLE", f"can't be read: {(error.strerror or str(error)).lower()}")
    return Failure("UNREADABLE", str(error))


def _is_settled(node: Node) -> bool:
    """Tell whether what a node can do now is all that it will be able to."""
    return node.state == "up" and not node.draining and not node.capabilities.changing


def _sum_up(report: Report, seconds: float) -> None:
    """Say that all is done: where all is written to a file, nothing else does."""
    if not report.place or not notes().is_terminal:
        return
    if not report.inputs:
        hint(f"{report.place}: all {report.total:,} are there already")
    else:
        hint(f"{report.place}: {report.done:,} done in {seconds:.1f} s")
