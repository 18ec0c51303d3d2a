"""Runs the inputs of ``hearth infer`` through the nodes there are."""

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import NamedTuple

from hearth.aside import aside
from hearth.cli import FAILURE, OK
from hearth.cli.console import complain, hint, notes
from hearth.cli.files import expand
from hearth.cli.inputs import gather
from hearth.cli.meta import warn_of_unknown
from hearth.cli.outputs import Target, report_for
from hearth.cli.report import Report, told_options
from hearth.cli.resume import Work
from hearth.cli.stopping import Stopping
from hearth.cli.twice import Twice
from hearth.client import Client, TaskInfo
from hearth.client.client import RAW
from hearth.errors import HearthError, Unavailable


class Wishes(NamedTuple):
    """What the user asked for."""

    task: str
    files: Sequence[str]
    texts: Sequence[str]
    options: Mapping[str, str]
    nodes: Sequence[str] = ()
    timeout: float | None = None
    """Seconds for all inputs together."""
    jobs: int | None = None
    """Requests in flight; None: as many as keep the nodes busy."""
    target: Target = Target()


def run(wishes: Wishes) -> int:
    """The exit code. Raises HearthError, and OSError for what can't be read or written."""
    stopping = Stopping()
    running = Running(wishes)
    try:
        with stopping:
            asyncio.run(_run(running, stopping))
    except KeyboardInterrupt:
        complain(running.last_words())
        return stopping.code
    except BrokenPipeError:
        raise
    except OSError as error:
        words = f"{error.filename or running.place}: {(error.strerror or str(error)).lower()}"
        raise HearthError(f"{words}: {running.how_far()}" if running.done else words) from None
    return FAILURE if running.failed else OK


async def _run(running: "Running", stopping: Stopping) -> None:
    def last_words() -> str:
        words = running.last_words()
        return f"hearth: {words}\n" if words else ""

    with Twice(stopping, last_words):
        await running.run()


class Running:
    """One run under way, on an asyncio loop."""

    def __init__(self, wishes: Wishes) -> None:
        self._wishes = wishes
        self._report: Report | None = None
        self._is_told = False

    @property
    def done(self) -> int:
        """Inputs that are done with."""
        return self._report.done if self._report is not None else 0

    @property
    def failed(self) -> int:
        """Those of them that failed."""
        return self._report.failed if self._report is not None else 0

    @property
    def place(self) -> str:
        """Where answers are written."""
        return (self._report.place if self._report is not None else "") or "stdout"

    def how_far(self) -> str:
        """Where it stands, and how to go on."""
        return "nothing was asked yet" if self._report is None else self._report.how_far()

    def last_words(self) -> str:
        """What is said of an interrupted run, once."""
        told, self._is_told = self._is_told, True
        return "" if told else f"interrupted: {self.how_far()}"

    async def run(self) -> None:
        """To the end of the inputs."""
        wishes = self._wishes
        async with Client(wishes.nodes) as client:
            node = await client.ready(wishes.task)
            task = node.capabilities.tasks[wishes.task]
            warn_of_unknown(task, wishes.options)
            report = self._report = await aside(partial(self._prepare, task))
            if report.model_id is not None:
                await _find(client, wishes.task, report)
            with report:
                report.begin()
                started = time.monotonic()
                if report.inputs:
                    await self._answer(client, task, report)
        _sum_up(report, time.monotonic() - started)

    async def _answer(self, client: Client, task: TaskInfo, report: Report) -> None:
        wishes = self._wishes
        options = dict(wishes.options)
        if wishes.target.wants_vectors and "accept" in task.limits:
            options.setdefault("accept", RAW)
        answers = client.map(
            wishes.task,
            report.inputs,
            ordered=report.ordered,
            in_flight=wishes.jobs,
            within=math.inf if wishes.timeout is None else wishes.timeout,
            model_id=report.model_id,
            options=options,
        )
        async with aclosing(answers):
            async for answer in answers:
                report.add(answer)

    def _prepare(self, task: TaskInfo) -> Report:
        """Look for the files, and at what an earlier run has left: not on the loop."""
        wishes = self._wishes
        inputs = gather(expand(wishes.files, task, _note), wishes.texts)
        work = Work(wishes.task, told_options(wishes.options))
        report = report_for(wishes.target, inputs, work)
        if wishes.timeout is not None:
            report.advice["DEADLINE_EXCEEDED"] = "a longer --timeout gives it more"
        return report


async def _find(client: Client, task: str, report: Report) -> None:
    """Raises Unavailable where no node has the model of an earlier run's answers."""
    try:
        await client.ready(task, model_id=report.model_id)
    except Unavailable as error:
        raise Unavailable(
            f"{report.place}: its answers are of the model {report.model_id}: {error}; "
            "answers of two don't mix: leave --resume out to replace them"
        ) from None


def _note(message: str) -> None:
    notes().print(message, style="yellow", markup=False, soft_wrap=True)


def _sum_up(report: Report, seconds: float) -> None:
    """For whoever watches: where all is written, nothing else says that it is done."""
    if not report.place or not notes().is_terminal:
        return
    if not report.inputs:
        hint(f"{report.place}: all {report.total:,} are there already")
    else:
        hint(f"{report.place}: {report.done:,} done in {seconds:.1f} s")
