"""One request to its one outcome, whatever happens to nodes meanwhile."""

import asyncio
import math
from dataclasses import replace
from typing import NamedTuple

from hearth.client.affinity import ModelAffinity
from hearth.client.link import GivenUp, StreamEnded
from hearth.client.messages import Failure, Job, Outcome
from hearth.client.node_handle import FAILED, LOST, NodeHandle
from hearth.client.pool import NodePool
from hearth.client.status import NO_ANSWER
from hearth.errors import DeadlinePassed, HearthError, UnknownTask

MOST_DEATHS = 4
"""Nodes that may go away while they have a request, before it is taken for the cause."""

TIMEOUT_MS = "timeout_ms"
"""The option by which nodes of hearth learn how long an answer is waited for."""

REFUSED = LOST | {"RESOURCE_EXHAUSTED"}
"""What a node says that may do a request later, or another node now."""


class Done(NamedTuple):
    """The outcome of a request, and the ``HOST:PORT`` that it is of; empty where nobody's."""

    outcome: Outcome
    node: str


def failed(job: Job, error: HearthError, last: Failure | None = None) -> Done:
    """What becomes of a request for which there is no node; ``last`` is what one said of it."""
    code = "NOT_FOUND" if isinstance(error, UnknownTask) else "UNAVAILABLE"
    if isinstance(error, DeadlinePassed):
        code = "DEADLINE_EXCEEDED"
    message = f"{error} (the last answer: {last.message})" if last is not None else str(error)
    return Done(Outcome(job.bare(), error=Failure(code, message)), "")


class _Tries:
    """What has become of a request so far."""

    def __init__(self) -> None:
        self.avoid: set[NodeHandle] = set()
        self.deaths = 0
        self.has_failed = False
        self.alone = False
        """Whether it goes over a call of its own: a status that ends it is its own, then."""

        self.last: Failure | None = None
        """Why it isn't answered yet."""

    def died(self, handle: NodeHandle, failure: Failure) -> None:
        """The stream ended with it."""
        self.last = failure
        if failure is NO_ANSWER:
            return  # such a node is asked over a call of its own from now on
        self.avoid.add(handle)
        self.lost(failure)
        self.alone = self.alone or failure.code not in LOST

    def lost(self, failure: Failure) -> None:
        """The node is gone, unless it said itself when it is back."""
        self.deaths += failure.code in LOST and failure.retry_after is None


async def perform(
    pool: NodePool,
    job: Job,
    deadline: float,
    affinity: ModelAffinity | None = None,
    *,
    tell: bool = False,
) -> Done:
    """What becomes of a request by ``deadline`` (of the loop's clock), its failures too.

    Inference is idempotent: where a node goes away, or can't now, another one is asked, or
    the same again later. With ``tell`` the nodes are told how long it is waited for.
    """
    tries = _Tries()
    while True:
        try:
            handle = await pool.pick(job.task, deadline, affinity, tries.avoid)
        except HearthError as error:
            return failed(job, error, tries.last)
        sent = _told(job, handle, deadline) if tell else job
        alone = tries.alone or handle.takes_single
        try:
            outcome = await handle.ask(sent, deadline, affinity, alone=alone)
        except TimeoutError:
            failure = Failure("DEADLINE_EXCEEDED", "no answer in time")
            return Done(Outcome(job.bare(), error=failure), handle.target)
        except GivenUp as given_up:
            tries.avoid.add(handle)
            tries.last = given_up.failure
            continue
        except StreamEnded as ended:
            tries.died(handle, ended.failure)
            if tries.deaths >= MOST_DEATHS:
                return Done(Outcome(job.bare(), error=ended.failure), handle.target)
            continue
        if _is_settled(outcome, handle, tries, pool, affinity):
            return Done(outcome, handle.target)


def _told(job: Job, handle: NodeHandle, deadline: float) -> Job:
    limits = handle.skills.tasks[job.task].limits
    left = deadline - asyncio.get_running_loop().time()
    if TIMEOUT_MS not in limits or TIMEOUT_MS in job.meta or math.isinf(left):
        return job
    return replace(job, meta={**job.meta, TIMEOUT_MS: str(max(1, round(left * 1000)))})


def _is_settled(
    outcome: Outcome,
    handle: NodeHandle,
    tries: _Tries,
    pool: NodePool,
    affinity: ModelAffinity | None,
) -> bool:
    """Whether this is what becomes of the request; else it is asked again, elsewhere at best."""
    error = outcome.error
    if error is None:
        return affinity is None or affinity.takes(outcome, handle)
    tries.avoid.add(handle)
    tries.last = error
    if error.code in REFUSED:
        if tries.alone or error is NO_ANSWER:
            tries.lost(error)
        return tries.deaths >= MOST_DEATHS
    if error.code in FAILED and not tries.has_failed:
        # A device without memory, or a damaged file, is the matter of one node.
        tries.has_failed = True
        return tries.avoid.issuperset(pool.able(outcome.job.task, affinity))
    return True
