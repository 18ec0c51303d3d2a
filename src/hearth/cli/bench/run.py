"""Runs the levels of ``hearth bench`` one after the other, and shows what came of them."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from rich.progress import BarColumn, TimeElapsedColumn

from hearth.blocking import run_blocking
from hearth.cli.bench.figures import LevelMeasurement, LoadPlan
from hearth.cli.bench.load import Extent, LoadLevel, Sender
from hearth.cli.bench.showing import facts, table
from hearth.cli.console import complain, hint, output, print_json, warn
from hearth.cli.exit_codes import FAILURE, OK
from hearth.cli.infer.expand import expand
from hearth.cli.infer.inputs import gather
from hearth.cli.options import warn_of_unknown
from hearth.cli.progress import Columns, ProgressView, description
from hearth.cli.signals import StopSignals
from hearth.client import Client, TaskInfo
from hearth.client.sources import Payload
from hearth.errors import InvalidInput

_LEVEL = Columns(lambda: (description(), BarColumn(), TimeElapsedColumn()), redraws=4)
"""A level's progress; few redraws, for what draws it takes time from what is measured."""


class BenchInputs(NamedTuple):
    """Files, texts and options that are sent."""

    files: Sequence[str]
    texts: Sequence[str]
    options: Mapping[str, str]


class BenchRun:
    """Measures a task over ``inputs``, which is read once, before."""

    def __init__(self, task: str, inputs: BenchInputs, extent: Extent) -> None:
        self._task = task
        self._inputs = inputs
        self._extent = extent
        self._levels: list[LevelMeasurement] = []
        self._trouble = ""

    def run(
        self, plans: Sequence[LoadPlan], nodes: Sequence[str], timeout: float, *, json: bool
    ) -> int:
        """Run all levels and return the exit code.

        Raises HearthError where no node can be asked, OSError for files.
        """
        interrupted = None
        with StopSignals() as stopping:
            try:
                asyncio.run(self._measure(plans, nodes, timeout, json))
            except KeyboardInterrupt:
                interrupted = stopping.code
        shown = [each for each in self._levels if not each.cut or each.figures().requests]
        if shown and not json:
            output().print(table(shown))
        if interrupted is not None:
            done = sum(not each.cut for each in self._levels)
            complain(f"interrupted: {done} of {len(plans)} levels done")
            return interrupted
        return self._verdict(json)

    def _verdict(self, json: bool) -> int:
        figures = [each.figures() for each in self._levels]
        if self._trouble:
            hint(f"the last error: {self._trouble}")
        answers = sum(each.answers for each in figures)
        unbatched = sum(each.unbatched for each in figures)
        if not json and 2 * unbatched > answers:
            hint(
                "most answers came without a batch: nodes keep what they made of a picture for a "
                "while (give many different ones), and some tasks need no model"
            )
        return OK if answers else FAILURE

    async def _measure(
        self, plans: Sequence[LoadPlan], nodes: Sequence[str], timeout: float, json: bool
    ) -> None:
        async with Client(nodes, timeout=timeout) as client:
            node = await client.ready(self._task)
            info = node.capabilities.tasks[self._task]
            warn_of_unknown(info, self._inputs.options)
            payloads = await run_blocking(partial(_read, self._inputs, info))
            sender = Sender(client, self._task, payloads, self._inputs.options)
            for plan in plans:
                measured = LevelMeasurement(plan)
                self._levels.append(measured)
                try:
                    with ProgressView(_LEVEL, say=None) as view:
                        advance = partial(view.progress, _name(plan), total=1.0)
                        await LoadLevel(measured, sender, self._extent, advance).run()
                finally:
                    self._trouble = sender.trouble
                    if json:
                        print_json(facts(self._task, measured))


def _read(inputs: BenchInputs, task: TaskInfo) -> list[Payload]:
    payloads = []
    for each in gather(expand(inputs.files, task, warn), inputs.texts):
        try:
            payloads.append(each.load(task))
        except ValueError as error:
            raise InvalidInput(f"{each.label}: {error}") from None
    return payloads


def _name(plan: LoadPlan) -> str:
    return f"{plan.in_flight} in flight" if plan.rate is None else f"{plan.rate:g} a second"
