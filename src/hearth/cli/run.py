"""Runs the inputs of ``hearth infer`` through the nodes there are."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from contextlib import aclosing

from hearth.cli import FAILURE, INTERRUPTED, OK
from hearth.cli.console import complain
from hearth.cli.inputs import Input
from hearth.cli.meta import warn_of_unknown
from hearth.cli.report import Report
from hearth.client import Client


def run(
    task: str,
    inputs: Sequence[Input],
    report: Report,
    *,
    meta: Mapping[str, str],
    nodes: Sequence[str],
    timeout: float | None,
) -> int:
    """The exit code. Raises HearthError where no node can be asked."""
    try:
        with report:
            asyncio.run(_run(task, inputs, report, meta=meta, nodes=nodes, timeout=timeout))
    except KeyboardInterrupt:
        complain(f"interrupted: {report.done} of {len(inputs)} done")
        return INTERRUPTED
    return FAILURE if report.failed else OK


async def _run(
    task: str,
    inputs: Sequence[Input],
    report: Report,
    *,
    meta: Mapping[str, str],
    nodes: Sequence[str],
    timeout: float | None,
) -> None:
    async with Client(nodes) as client:
        node = await client.ready(task)
        report.begin(node.target)
        warn_of_unknown(node.capabilities.tasks[task], meta)
        within = math.inf if timeout is None else timeout
        answers = client.map(task, inputs, ordered=False, within=within, options=meta)
        async with aclosing(answers):
            async for answer in answers:
                report.add(answer)
