"""Answers that come part by part."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from hearth.client.answer import AnswerPart
from hearth.client.messages import MODEL, Job
from hearth.client.node_calls import PartCall, ReadPart
from hearth.client.node_handle import NodeHandle
from hearth.client.retry import Tries, failed, with_timeout
from hearth.client.source_reader import Unreadable
from hearth.client.status import error_of
from hearth.client.task_call import TaskCall
from hearth.errors import HearthError


async def stream_parts(
    call: TaskCall, source: Any, mime: str = ""
) -> AsyncGenerator[AnswerPart, None]:
    """Yield the parts of one answer as they come.

    Before the first part another node is asked where one goes away or can't now, as for any
    request; after it the failure is raised, for nobody else can go on. Raises HearthError, and
    what reading the source raised.
    """
    deadline = call.deadline(asyncio.get_running_loop().time())
    try:
        payload = await call.take(source, deadline, mime)
    except Unreadable as error:
        raise error.__cause__ or error from None
    try:
        job = call.job(payload)
        handle, part_call, part = await _begin(call, job, deadline)
    finally:
        call.give_back(payload)
    del payload, job
    try:
        index = 0
        while True:
            if part.outcome.error is not None and part.entry is None:
                raise error_of(part.outcome.error)
            entry = part.entry or ""
            yield AnswerPart(source, index, handle.target, part.outcome, part.is_last, entry)
            if part.is_last:
                return
            index += 1
            part = await part_call.next()
    finally:
        handle.close_parts(part_call)


async def _begin(
    call: TaskCall, job: Job, deadline: float
) -> tuple[NodeHandle, PartCall, ReadPart]:
    """Have a node begin to answer; returns it, its call, and the first part."""
    pool, affinity, tell = call.policy
    bare = job.bare()
    loop = asyncio.get_running_loop()
    tries = Tries()
    tries.alone = True
    while True:
        try:
            handle = await pool.pick(job.task, deadline, affinity, tries.avoid)
        except HearthError as error:
            failure = failed(bare, error, tries.last).outcome.error
            raise (error if failure is None else error_of(failure)) from None
        sent = with_timeout(job, handle, deadline - loop.time()) if tell else job
        part_call = handle.open_parts(sent, deadline, affinity)
        is_kept = False
        try:
            part = await part_call.next()
            outcome = part.outcome
            if part.entry is None and (outcome.error or part.is_last or MODEL in outcome.meta):
                is_kept = tries.judge(outcome, handle, pool, affinity, bare) is not None
            else:
                is_kept = True  # a delta needn't say whose it is, and an entry's error is its own
            if is_kept:
                return handle, part_call, part
        finally:
            if not is_kept:
                handle.close_parts(part_call)
