"""One node of the fleet: what it can do, how fast, and the one stream to it."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hearth.client.capabilities import Capabilities, TaskInfo
from hearth.client.keeper import Keeper, State
from hearth.client.link import Link, StreamEnded
from hearth.client.messages import Failure, Job, Outcome
from hearth.client.pace import Pace
from hearth.client.status import NO_ANSWER
from hearth.discovery.record import NodeRecord

STALL_SECONDS = 2.0
"""Silence, with requests open, after which the node is asked whether it lives."""
HANG_SECONDS = 30.0
"""Silence after which requests are taken from a node that does say that it lives."""
MANY_TIMES = 10
"""…or so many times the slowest answer of it so far, if that is longer."""

LOST = frozenset({"UNAVAILABLE", "CANCELLED", "ABORTED"})
"""Statuses of a stream that say something of the node or the way to it; others are said of
a request: nodes of the field end the whole stream for one (with UNKNOWN, where they raised)."""
FAILED = frozenset({"INTERNAL", "UNKNOWN"})
"""What is said where the model failed, or the node's own code."""

LEAST_WINDOW, MOST_WINDOW = 16, 256
"""Requests in flight that keep a node busy: three of its batches, but within these; the
node's own bound for a stream is the upper one."""


@dataclass(frozen=True, slots=True)
class Node:
    """What is known of a node."""

    target: str
    """``HOST:PORT``."""
    name: str
    """As it announces itself, else its address."""
    uuid: str
    """Empty where it doesn't say."""
    state: State
    """``up``: it answers; ``new``: it hasn't been asked yet; ``loading``, ``down``."""
    trouble: str
    """One line: why it isn't up."""
    draining: bool
    """Whether it is about to go."""
    capabilities: Capabilities
    """As last told."""


class Member:
    """To be used on one event loop; ``changed`` is called when it may be able to do more."""

    def __init__(
        self, target: str, changed: Callable[[], None], record: NodeRecord | None = None
    ) -> None:
        self.target = target
        self.record = record
        """What mDNS says of it; None for a node that was named by its address."""
        self.listed = True
        """Whether it is named, or announced now."""
        self.tasks: Mapping[str, TaskInfo] = {}
        self.models: Mapping[str, tuple[str, ...]] = {}
        """Of each task's service."""
        self.is_draining = False
        """Whether it says that it is about to go."""
        self.outstanding = 0
        """Requests of ours without an answer."""
        self.asked: Counter[str] = Counter()
        """The same, of each task."""
        self.others = 0
        """Requests of others, as the node said lately."""
        self.takes_single = False
        """Whether each request needs a call of its own: it ends calls that carry many."""
        self._changed = changed
        self._link: Link | None = None
        self._windows: dict[str, int] = {}
        self._paces: dict[str, Pace] = {}
        self._slowest = 0.0
        self._patience = 1
        self._busy_since = 0.0
        self._idle = asyncio.Event()
        self._idle.set()
        self._stall: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.can_be_spared: Callable[[Member], bool] = lambda _: False
        """Whether others could do what it is asked for."""
        self._keeper = Keeper(target, self._learn, self._is_heard)

    @property
    def state(self) -> State:
        """``up``, or why it isn't."""
        return self._keeper.state

    @property
    def trouble(self) -> str:
        """One line: why it isn't up."""
        return self._keeper.trouble

    @property
    def capabilities(self) -> Capabilities:
        """As last told."""
        return self._keeper.capabilities

    @property
    def uuid(self) -> str:
        """Who it is, where it says so."""
        return self._fact("node.uuid") or (self.record.uuid if self.record is not None else "")

    @property
    def identity(self) -> tuple[str, str]:
        """Who it says that it is, over gRPC: nodes on a copied data folder share the uuid alone."""
        return self._fact("node.uuid"), self._fact("node.name")

    @property
    def name(self) -> str:
        """The name that it announces, else its address."""
        told = self.record.name if self.record is not None else ""
        return told or self._fact("node.name") or self.target

    @property
    def node(self) -> Node:
        """What is known of it now."""
        return Node(
            self.target,
            self.name,
            self.uuid,
            self.state,
            self.trouble,
            self.is_draining,
            self.capabilities,
        )

    def pace(self, task: str) -> Pace:
        """Of this task here."""
        pace = self._paces.get(task)
        if pace is None:
            pace = self._paces[task] = Pace()
        return pace

    def window(self, task: str) -> int:
        """Requests in flight that keep it busy."""
        return self._windows[task]

    def seen(self, record: NodeRecord) -> None:
        """mDNS says something new of it: that may be the end of a rest."""
        self.record, self.listed = record, True
        self._note_status()
        for pace in self._paces.values():
            pace.wake()
        self._keeper.ask_now()

    def unlisted(self) -> None:
        """It isn't announced any more: it stays for as long as it answers."""
        self.listed = False
        self._keeper.ask_now()

    async def ask(self, job: Job, deadline: float) -> Outcome:
        """What the node says.

        Raises StreamEnded where nothing is known of the request, and TimeoutError at the
        ``deadline`` (of the loop's clock).
        """
        pace = self.pace(job.task)
        ahead, started = self._begin(job.task)
        link = self._open_link()
        answer = link.send(job)
        # Far cheaper than asyncio.timeout, and there is nothing else to wait for.
        timer = self._loop.call_at(deadline, _expire, answer)
        try:
            outcome = await answer
        except StreamEnded as ended:
            if ended.failure.code in LOST or ended.company > 1:
                self._lose(link, ended.failure, pace)
                raise
            outcome = Outcome(job, error=ended.failure)
        finally:
            timer.cancel()
            self._done(job.task)
        self._note(pace, outcome, self._loop.time() - started, ahead)
        return outcome

    async def ask_alone(self, job: Job, deadline: float) -> Outcome:
        """As ``ask``, over a call of its own: how that ends, this request brought about."""
        pace = self.pace(job.task)
        ahead, started = self._begin(job.task)
        given_up = started + self._longest if self.can_be_spared(self) else math.inf
        try:
            async with asyncio.timeout_at(min(deadline, given_up)):
                outcome = await self._keeper.connection.infer(job)
        except TimeoutError:
            if deadline <= given_up:
                raise
            if self._loop.time() >= pace.rest_until:
                self._patience *= 2
            pace.refused(self._loop.time())
            raise StreamEnded(_silent(given_up - started), 1) from None
        finally:
            self._done(job.task)
        self._note(pace, outcome, self._loop.time() - started, ahead)
        return outcome

    async def close(self) -> None:
        """Cancel what is open."""
        if self._stall is not None:
            self._stall.cancel()
        if self._link is not None:
            await self._link.close()
        await self._keeper.close()

    async def leave(self) -> None:
        """Wait for the answers to what is open, and close."""
        try:
            await self._idle.wait()
        finally:
            await self.close()

    def _begin(self, task: str) -> tuple[int, float]:
        """One more request; how many are ahead of it, and the time."""
        now, ahead = self._loop.time(), self.outstanding + self.others
        if not self.outstanding:
            self._busy_since = now
            self._idle.clear()
        self.outstanding += 1
        self.asked[task] += 1
        if self._stall is None:
            self._stall = self._loop.call_later(STALL_SECONDS, self._look_for_stall)
        return ahead, now

    def _done(self, task: str) -> None:
        self.asked[task] -= 1
        self.outstanding -= 1
        if not self.outstanding:
            self._idle.set()

    def _open_link(self) -> Link:
        if self._link is None or self._link.ended is not None:
            self._link = self._keeper.connection.link()
        return self._link

    def _note(self, pace: Pace, outcome: Outcome, took: float, ahead: int) -> None:
        error = outcome.error
        if error is None or error.code in {"INVALID_ARGUMENT", "NOT_FOUND"}:
            if error is None:
                self._slowest = max(self._slowest, took)
                pace.answered(took, ahead, self._loop.time())
        elif error.code in FAILED:
            pace.failed(self._loop.time())
        elif error.code != "DEADLINE_EXCEEDED":
            pace.refused(self._loop.time(), error.retry_after)
            # It may be draining, or have lost a model.
            self._keeper.ask_now()

    def _lose(self, link: Link, failure: Failure, pace: Pace) -> None:
        """The stream ended; once for all of its requests."""
        if self._link is not link:
            return
        self._link = None
        if failure is NO_ANSWER:
            # Some nodes, Lumen's for one, answer one request a call, or a few, and end it.
            self.takes_single = True
        elif failure.code == "RESOURCE_EXHAUSTED":
            pace.refused(self._loop.time(), failure.retry_after)
        elif failure.code in LOST:
            for each in self._paces.values():
                each.refused(self._loop.time(), failure.retry_after)
            self._keeper.doubt(f"{self.target}: {failure.message}")
        else:
            pace.failed(self._loop.time())

    def _is_heard(self) -> bool:
        link = self._link
        return (
            link is not None
            and link.ended is None
            and self._loop.time() - link.heard < STALL_SECONDS
        )

    @property
    def _longest(self) -> float:
        """Seconds of silence after which it is given up."""
        return max(HANG_SECONDS, MANY_TIMES * self._slowest) * self._patience

    def _look_for_stall(self) -> None:
        self._stall = None
        if not self.outstanding:
            return
        self._stall = self._loop.call_later(STALL_SECONDS, self._look_for_stall)
        link = self._link
        if link is None or link.ended is not None:
            return
        silence = self._loop.time() - max(link.heard, self._busy_since)
        if silence < STALL_SECONDS:
            return
        self._keeper.ask_now()
        if silence > self._longest and self.can_be_spared(self):
            self._patience *= 2  # it may be no more than slow: it gets more time from now on
            link.abort(_silent(silence))

    def _learn(self) -> None:
        keeper = self._keeper
        if keeper.state == "up":
            self.tasks = keeper.capabilities.tasks
            self._windows = {name: _window(task) for name, task in self.tasks.items()}
            self.models = {
                name: service.models
                for service in keeper.capabilities.services
                for name in (task.name for task in service.tasks)
            }
            self._note_status()
            load = self._fact("load.in_flight")
            self.others = max(0, int(load) - self.outstanding) if load.isdecimal() else 0
        elif keeper.state == "down" and self._link is not None:
            # Whoever waits there has waited for nothing: the node doesn't even say what it is.
            self._link.abort(Failure("UNAVAILABLE", keeper.trouble))
        if keeper.state != "up":
            self.takes_single = False  # another node may come up there
        self._changed()

    def _note_status(self) -> None:
        told = self.record.status if self.record is not None else ""
        self.is_draining = "draining" in {told, self._fact("node.status")}

    def _fact(self, name: str) -> str:
        services = self._keeper.capabilities.services
        return next((value for each in services if (value := each.extra.get(name))), "")


def _window(task: TaskInfo) -> int:
    batch = task.limits.get("max_batch", "1")
    wanted = 3 * int(batch) if batch.isdecimal() else 0
    return max(LEAST_WINDOW, min(MOST_WINDOW, wanted))


def _silent(seconds: float) -> Failure:
    return Failure("UNAVAILABLE", f"no answer for {seconds:.0f} s")


def _expire(answer: "asyncio.Future[Outcome]") -> None:
    if not answer.done():
        answer.set_exception(TimeoutError())
