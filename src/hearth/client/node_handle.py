"""One node of the pool: what it can do, how fast, and the one stream to it."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable

from hearth.client.affinity import ModelAffinity
from hearth.client.capabilities import Capabilities
from hearth.client.health_check import HealthCheck
from hearth.client.latency import Pace
from hearth.client.link import GivenUp, Link, StreamEnded
from hearth.client.links import Links
from hearth.client.messages import Failure, Job, Outcome
from hearth.client.node import Node, Skills, State
from hearth.client.status import NO_ANSWER
from hearth.client.watchdog import Watchdog
from hearth.discovery.record import NodeRecord

LOST = frozenset({"UNAVAILABLE", "CANCELLED", "ABORTED"})
"""Statuses of a stream that say something of the node or the way to it; others are said of
a request: nodes of the field end the whole stream for one (with UNKNOWN, where they raised)."""
STOOD_STILL_SECONDS = 0.2
"""A timer that comes so late says nothing of the node."""

Wish = tuple[str, ModelAffinity | None]
"""A task, and the model that it is to be done with."""

FAILED = frozenset({"INTERNAL", "UNKNOWN"})
"""What is said where the model failed, or the node's own code."""
OF_THE_REQUEST = frozenset({"INVALID_ARGUMENT", "NOT_FOUND", "DEADLINE_EXCEEDED"})
"""What says nothing of the node."""


class NodeHandle:
    """To be used on one event loop; ``changed`` is called when it may be able to do more.

    ``can_be_spared`` says whether others could do what it is asked for.
    """

    def __init__(
        self,
        target: str,
        changed: Callable[[], None],
        can_be_spared: "Callable[[NodeHandle], bool]",
        record: NodeRecord | None = None,
    ) -> None:
        self.record = record
        """What mDNS says of it; None for a node that was named by its address."""
        self.listed = True
        """Whether it is named, or announced now."""
        self.skills = Skills()
        self.is_draining = False
        """Whether it says that it is about to go."""
        self.outstanding = 0
        """Requests of ours without an answer."""
        self.wishes: Counter[Wish] = Counter()
        """The same, of each task and model."""
        self.others = 0
        """Requests of others, as the node said lately."""
        self.takes_single = False
        """Whether each request needs a call of its own: it ends calls that carry many."""
        self._changed = changed
        self._can_be_spared = can_be_spared
        self._most = 0
        self._links = Links(self._connect)
        self._paces: dict[str, Pace] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._loop = asyncio.get_running_loop()
        self._watchdog = Watchdog(
            self._links.heard, self._ask_now, self._give_up, self._give_up_the_overdue
        )
        targets = (target,) if record is None else record.targets
        self._health = HealthCheck(targets, self._learn, self._watchdog.is_recent)

    @property
    def target(self) -> str:
        """``HOST:PORT`` where it is asked now."""
        return self._health.target

    @property
    def state(self) -> State:
        """``up``, or why it isn't."""
        return self._health.state

    @property
    def trouble(self) -> str:
        """One line: why it isn't up."""
        return self._health.trouble

    @property
    def capabilities(self) -> Capabilities:
        """As last told."""
        return self.skills.capabilities

    @property
    def uuid(self) -> str:
        """Who it is, where it says so."""
        told = self.record.uuid if self.record is not None else ""
        return self.skills.fact("node.uuid") or told

    @property
    def identity(self) -> tuple[str, str]:
        """Who it says that it is, over gRPC: nodes on a copied data folder share the uuid alone."""
        return self.skills.fact("node.uuid"), self.skills.fact("node.name")

    @property
    def name(self) -> str:
        """The name that it announces, else its address."""
        told = self.record.name if self.record is not None else ""
        return told or self.skills.fact("node.name") or self.target

    @property
    def snapshot(self) -> Node:
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

    def seen(self, record: NodeRecord) -> None:
        """mDNS says something new of it: that may be the end of a rest."""
        self.record, self.listed = record, True
        self._health.targets = record.targets
        self.is_draining = self.skills.is_draining(record)
        for pace in self._paces.values():
            pace.wake()
        self._health.ask_now()

    def unlisted(self) -> None:
        """It isn't announced any more: it stays for as long as it answers."""
        self.listed = False
        self._health.ask_now()

    async def ask(
        self,
        job: Job,
        deadline: float,
        affinity: ModelAffinity | None = None,
        *,
        alone: bool = False,
    ) -> Outcome:
        """What the node says, on the stream for all requests or ``alone`` on one of its own.

        Raises StreamEnded where nothing is known of the request, and TimeoutError at the
        ``deadline`` (of the loop's clock). How a stream of its own ends, the request has
        brought about: that is its outcome.
        """
        if self._loop.time() >= deadline:
            raise TimeoutError
        pace, wish = self.pace(job.task), (job.task, affinity)
        ahead, started = self._begin(wish)
        link = self._links.single() if alone else self._links.shared()
        answer = link.send(job)
        if alone:
            link.finish()
        # Far cheaper than asyncio.timeout, and there is nothing else to wait for.
        timer = self._loop.call_at(deadline, _expire, self._loop, deadline, answer)
        try:
            outcome = await answer
        except (GivenUp, TimeoutError):
            now = self._loop.time()
            pace.late(now - started, ahead, now)
            raise
        except StreamEnded as ended:
            if not alone and (ended.failure.code in LOST or ended.company > 1):
                self._lose(link, ended.failure, pace)
                raise
            outcome = Outcome(job.bare(), error=ended.failure)
        finally:
            timer.cancel()
            if alone:
                self._links.close_aside(link)
            self._done(wish)
        self._note(pace, outcome, self._loop.time() - started, ahead)
        return outcome

    async def close(self) -> None:
        """Cancel what is open."""
        self._watchdog.close()
        await self._links.close()
        await self._health.close()

    async def leave(self) -> None:
        """Wait for the answers to what is open, and close."""
        try:
            await self._idle.wait()
        finally:
            await self.close()

    def _begin(self, wish: Wish) -> tuple[int, float]:
        """One more request; how many are ahead of it, and the time."""
        now, ahead = self._loop.time(), self.outstanding + self.others
        if not self.outstanding:
            self._idle.clear()
            self._watchdog.begin()
        self.outstanding += 1
        self._most = max(self._most, self.outstanding)
        self.wishes[wish] += 1
        return ahead, now

    def _done(self, wish: Wish) -> None:
        self.wishes[wish] -= 1
        if not self.wishes[wish]:
            del self.wishes[wish]
        self.outstanding -= 1
        if not self.outstanding:
            self._idle.set()
            self._watchdog.end()

    def _note(self, pace: Pace, outcome: Outcome, took: float, ahead: int) -> None:
        error = outcome.error
        if error is None:
            self._watchdog.answered(took)
            pace.answered(took, ahead, self._loop.time())
        elif error.code in FAILED:
            pace.failed(self._loop.time())
        elif error.code not in OF_THE_REQUEST:
            is_news = pace.refused(self._loop.time(), error.retry_after)
            if is_news and error.retry_after is None:
                # It may be draining, or have lost a model.
                self._health.ask_now()

    def _lose(self, link: Link, failure: Failure, pace: Pace) -> None:
        """The stream ended; once for all of its requests."""
        if not self._links.forget(link):
            return
        if failure is NO_ANSWER:
            # Some nodes, Lumen's for one, answer one request a call, or a few, and end it.
            self.takes_single = True
        elif failure.code == "RESOURCE_EXHAUSTED":
            pace.refused(self._loop.time(), failure.retry_after)
        elif failure.code in LOST:
            for each in self._paces.values():
                each.refused(self._loop.time(), failure.retry_after)
            self._health.doubt(f"{self.target}: {failure.message}")
        else:
            pace.failed(self._loop.time())

    def _connect(self) -> Link:
        return self._health.connection.link()  # whichever it is now

    def _ask_now(self) -> None:
        self._health.ask_now()

    def _give_up(self, seconds: float) -> bool:
        if not self._can_be_spared(self):
            return False
        self._links.abort(_silent(seconds))
        return True

    def _give_up_the_overdue(self, seconds: float) -> None:
        """A node may lose a request, and answer all others."""
        if self._can_be_spared(self):
            self._links.give_up(self._loop.time() - seconds, _silent(seconds))

    def _learn(self) -> None:
        health_check = self._health
        if health_check.state == "up":
            self.skills = Skills(health_check.capabilities)
            self.is_draining = self.skills.is_draining(self.record)
            # Ours were as many at some time since it was asked: they are none of others.
            self.others = max(0, self.skills.in_flight() - self._most)
            self._most = self.outstanding
        else:
            self.takes_single = False  # another node may come up there
        if health_check.state == "down":
            # Whoever waits there has waited for nothing: the node doesn't even say what it is.
            self._links.abort(Failure("UNAVAILABLE", health_check.trouble))
        self._changed()


def _silent(seconds: float) -> Failure:
    return Failure("UNAVAILABLE", f"no answer for {seconds:.0f} s")


def _expire(
    loop: asyncio.AbstractEventLoop, deadline: float, answer: "asyncio.Future[Outcome]"
) -> None:
    if answer.done():
        return
    late = loop.time() - deadline
    if late > STOOD_STILL_SECONDS:
        # The loop stood still: what has come meanwhile is read first.
        loop.call_later(STOOD_STILL_SECONDS, _expire, loop, math.inf, answer)
        return
    answer.set_exception(TimeoutError())
