"""Runs the inputs of ``hearth infer`` through one call."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing

from hearth.cli import FAILURE, INTERRUPTED, OK
from hearth.cli.console import complain
from hearth.cli.inputs import Input
from hearth.cli.meta import warn_of_unknown
from hearth.cli.report import Report
from hearth.client import Connection, Failure, Job, Outcome, TaskInfo
from hearth.client.locate import locate


def run(
    task: str,
    inputs: Sequence[Input],
    report: Report,
    *,
    meta: Mapping[str, str],
    node: str | None,
    timeout: float | None,
) -> int:
    """The exit code. Raises HearthError where no node can be asked."""
    try:
        with report:
            asyncio.run(_run(task, inputs, report, meta=meta, node=node, timeout=timeout))
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
    node: str | None,
    timeout: float | None,
) -> None:
    found = await locate(task, node)
    report.begin(found.target)
    info = found.capabilities.tasks[task]
    warn_of_unknown(info, meta)
    async with Connection(found.target) as connection:
        jobs = _jobs(info, inputs, meta, report)
        async with aclosing(connection.infer_many(jobs, timeout=timeout)) as outcomes:
            async for outcome in outcomes:
                report.add(outcome)


async def _jobs(
    task: TaskInfo, inputs: Sequence[Input], meta: Mapping[str, str], report: Report
) -> AsyncIterator[Job]:
    """Reads each input when its turn comes; what can't be read is reported right away."""
    for index, source in enumerate(inputs):
        try:
            payload, mime = await asyncio.to_thread(source.read, task)
        except OSError as error:
            reason = f"can't be read: {_reason(error)}"
            if isinstance(error, IsADirectoryError) and not task.takes_text:
                reason += f" (`hearth watch {task.name} {source.label}` takes folders)"
        else:
            if not _is_video(task, mime):
                yield Job(task.name, payload, mime, meta, tag=index)
                continue
            reason = f"a video: `hearth watch {task.name} {source.label}` takes videos"
        failure = Failure("UNREADABLE", reason)
        report.add(Outcome(Job(task.name, b"", tag=index), error=failure))


def _is_video(task: TaskInfo, mime: str) -> bool:
    """Whether it is one, and the task looks at single pictures."""
    return mime.startswith("video/") and any(each.startswith("image/") for each in task.inputs)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
