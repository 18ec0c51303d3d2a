"""One request to its one outcome, whatever happens to nodes meanwhile."""

import asyncio
import math
from dataclasses import replace
from typing import NamedTuple

from hearth.client.affinity import ModelAffinity
from hearth.client.exchange import Exchange
from hearth.client.link import TOO_LATE, Unanswered
from hearth.client.messages import Failure, Job, Outcome
from hearth.client.node_handle import FAILED, LOST, NodeHandle
from hearth.client.pool import NodePool
from hearth.client.status import NO_ANSWER
from hearth.errors import DeadlinePassed, HearthError, UnknownTask

MAX_DEATHS = 4
"""Nodes that may go away while they have a request, before it is taken for the cause."""
TIMEOUT_MS = "timeout_ms"
"""Option by which nodes of hearth learn how long an answer is waited for."""
REFUSED = LOST | {"RESOURCE_EXHAUSTED"}
"""Codes of a node that may do a request later, or of which another may do it now."""


class Done(NamedTuple):
    """The outcome of a request, and the ``HOST:PORT`` that it is of; empty where nobody's."""

    outcome: Outcome
    node: str


def failed(job: Job, error: HearthError, last: Failure | None = None) -> Done:
    """Make the outcome of a request for which there is no node; ``last`` is what one said of it."""
    code = "NOT_FOUND" if isinstance(error, UnknownTask) else "UNAVAILABLE"
    if isinstance(error, DeadlinePassed):
        code = "DEADLINE_EXCEEDED"
    message = f"{error} (the last answer: {last.message})" if last is not None else str(error)
    return Done(Outcome(job.bare(), error=Failure(code, message)), "")


def with_timeout(job: Job, handle: NodeHandle, seconds: float) -> Job:
    """Return the job with the time that is left for it, where the node has the option."""
    limits = handle.skills.tasks[job.task].limits
    if TIMEOUT_MS not in limits or TIMEOUT_MS in job.meta or math.isinf(seconds):
        return job
    return replace(job, meta={**job.meta, TIMEOUT_MS: str(max(1, round(seconds * 1000)))})


class Tries:
    """Decides, try by try, whether a request is done or asked again, elsewhere at best."""

    __slots__ = ("_deaths", "_has_failed", "alone", "avoid", "last")

    def __init__(self) -> None:
        self.avoid: set[NodeHandle] = set()
        """Nodes that have failed at it."""
        self.alone = False
        """True where it goes over a call of its own: a status that ends it is its own, then."""
        self.last: Failure | None = None
        """Reason why it isn't answered yet."""
        self._deaths = 0
        self._has_failed = False

    def judge(
        self,
        result: Outcome | Unanswered,
        handle: NodeHandle,
        pool: NodePool,
        affinity: ModelAffinity | None,
        bare: Job,
    ) -> Outcome | None:
        """Return the outcome of the request, or None: it is to be asked again."""
        if isinstance(result, Unanswered):
            return self._judge_unanswered(result, handle, bare)
        if result.error is None:
            accepted = affinity is None or affinity.accepts(result, handle, handle.skills)
            return result if accepted else None
        return result if self._is_settled(result.error, handle, pool, affinity, bare.task) else None

    def _judge_unanswered(
        self, result: Unanswered, handle: NodeHandle, bare: Job
    ) -> Outcome | None:
        failure = result.failure
        if result.why == "late":
            return Outcome(bare, error=failure)
        self.last = failure
        if result.why == "given_up":
            self.avoid.add(handle)
        elif failure is not NO_ANSWER:  # such a node is asked over a call of its own from now on
            self.avoid.add(handle)
            self._add_death(failure)
            self.alone = self.alone or failure.code not in LOST
        return Outcome(bare, error=failure) if self._deaths >= MAX_DEATHS else None

    def _is_settled(
        self,
        error: Failure,
        handle: NodeHandle,
        pool: NodePool,
        affinity: ModelAffinity | None,
        task: str,
    ) -> bool:
        self.avoid.add(handle)
        self.last = error
        if error.code in REFUSED:
            if self.alone or error is NO_ANSWER:
                self._add_death(error)
            return self._deaths >= MAX_DEATHS
        if error.code in FAILED and not self._has_failed:
            # A device without memory, or a damaged file, is the matter of one node.
            self._has_failed = True
            return self.avoid.issuperset(pool.able(task, affinity))
        return True

    def _add_death(self, failure: Failure) -> None:
        """Count a node that is gone, unless it said itself when it is back."""
        self._deaths += failure.code in LOST and failure.retry_after is None


class RetryPolicy(NamedTuple):
    """Nodes that may do a request, and whether they are told of its deadline."""

    pool: NodePool
    affinity: ModelAffinity | None
    tell: bool
    """True where nodes are told how long an answer is waited for."""


class PendingRequest:
    """A request on its way to its one outcome, of which ``finish`` is told once.

    Inference is idempotent: where a node goes away, or can't now, another one is asked, or
    the same again later, until ``deadline`` (of the loop's clock). It is driven by callbacks: a
    task for each request costs more than all else that a client does for it.
    """

    __slots__ = (
        "_bare",
        "_exchange",
        "_handle",
        "_job",
        "_policy",
        "_tries",
        "_waiting",
        "deadline",
    )

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self._tries: Tries | None = None
        self._exchange: Exchange | None = None
        self._waiting: asyncio.Task[None] | None = None
        self._policy: RetryPolicy
        self._job: Job
        self._bare: Job
        self._handle: NodeHandle

    @property
    def affinity(self) -> ModelAffinity | None:
        """Model that it is to be done with."""
        return self._policy.affinity

    def finish(self, result: Done | BaseException) -> None:
        """Take the outcome, or an exception where the client is closed meanwhile."""
        raise NotImplementedError

    def send(self, policy: RetryPolicy, job: Job, bare: Job, now: float) -> None:
        """Send a job, ``bare`` of which is without the payload, or begin to wait for a node."""
        self._policy, self._job, self._bare = policy, job, bare
        self._try(now)

    def cancel(self) -> None:
        """Ask no more; ``finish`` isn't called."""
        if self._waiting is not None:
            self._waiting.cancel()
        if self._exchange is not None:
            self._exchange.cancel()

    def settle(self, result: Outcome | Unanswered) -> None:
        """Take what a node made of it."""
        pool, affinity, _ = self._policy
        handle = self._handle
        if self._tries is None:
            if (
                isinstance(result, Outcome)
                and result.error is None
                and (affinity is None or affinity.accepts(result, handle, handle.skills))
            ):
                self.finish(Done(result, handle.target))
                return
            self._tries = Tries()
        outcome = self._tries.judge(result, handle, pool, affinity, self._bare)
        if outcome is None:
            self._try(asyncio.get_running_loop().time())
        else:
            self.finish(Done(outcome, handle.target))

    def _try(self, now: float) -> None:
        pool, affinity, _ = self._policy
        avoid = () if self._tries is None else self._tries.avoid
        try:
            handle = pool.choose(self._job.task, now, affinity, avoid)
        except Exception as error:
            self.finish(error)
            return
        if handle is None:
            self._waiting = asyncio.create_task(self._wait())
        else:
            self._send(handle, now)

    async def _wait(self) -> None:
        pool, affinity, _ = self._policy
        tries = self._tries
        avoid = () if tries is None else tries.avoid
        try:
            handle = await pool.pick(self._job.task, self.deadline, affinity, avoid)
        except HearthError as error:
            self.finish(failed(self._bare, error, None if tries is None else tries.last))
        except Exception as error:
            self.finish(error)
        else:
            self._waiting = None
            self._send(handle, asyncio.get_running_loop().time())

    def _send(self, handle: NodeHandle, now: float) -> None:
        self._handle = handle
        seconds = self.deadline - now
        if seconds <= 0:
            self.finish(Done(Outcome(self._bare, error=TOO_LATE), handle.target))
            return
        tries = self._tries
        self._exchange = handle.send(
            with_timeout(self._job, handle, seconds) if self._policy.tell else self._job,
            self._bare,
            self,
            now,
            alone=handle.takes_single or (tries is not None and tries.alone),
        )
