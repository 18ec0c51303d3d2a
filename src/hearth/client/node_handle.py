"""One node of the pool: what it can do, how fast, and the calls to it."""

import asyncio
from collections.abc import Callable

from hearth.client.affinity import ModelAffinity
from hearth.client.capabilities import Capabilities, Node, Skills, State
from hearth.client.exchange import Asker, AtNode, Exchange
from hearth.client.health import HealthCheck, Watchdog
from hearth.client.latency import CircuitBreaker, NodeLatency, TaskHealth
from hearth.client.limits import ClientLimits
from hearth.client.link import Link, Unanswered
from hearth.client.messages import Failure, Job, Outcome
from hearth.client.node_calls import NodeLinks, PartCall
from hearth.client.status import NO_ANSWER
from hearth.discovery.record import NodeRecord

LOST = frozenset({"UNAVAILABLE", "CANCELLED", "ABORTED"})
"""Statuses of a stream that say something of the node or the way to it; others are said of
a request: nodes of the field end the whole stream for one (with UNKNOWN, where they raised)."""
FAILED = frozenset({"INTERNAL", "UNKNOWN"})
"""Codes that are said where the model failed, or the node's own code."""
OF_THE_REQUEST = frozenset({"INVALID_ARGUMENT", "NOT_FOUND", "DEADLINE_EXCEEDED"})
"""Codes that say nothing of the node."""


class NodeHandle:
    """One node, on one event loop; ``changed`` is called when it may be able to do more.

    ``can_be_spared`` says whether others could do what it is asked for.
    """

    def __init__(
        self,
        target: str,
        changed: Callable[[], None],
        can_be_spared: "Callable[[NodeHandle], bool]",
        limits: ClientLimits,
        record: NodeRecord | None = None,
    ) -> None:
        self.record = record
        """Announcement by mDNS; None for a node that was named by its address."""
        self.listed = True
        """True of a node that is named, or announced now."""
        self.skills = Skills()
        self.is_draining = False
        """True of a node that says that it is about to go."""
        self.at_node: set[AtNode] = set()
        """Requests of ours without an answer."""
        self.others = 0
        """Requests of others, as the node said lately."""
        self.takes_single = False
        """True where each request needs a call of its own: the node ends calls that carry many."""
        self._changed = changed
        self._can_be_spared = can_be_spared
        self._limits = limits
        self._most = 0
        self._links = NodeLinks(self._connect)
        self._tasks: dict[str, TaskHealth] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._loop = asyncio.get_running_loop()
        self._watchdog = Watchdog(
            self._links.heard, self._check_now, self._give_up, self._give_up_late, limits
        )
        targets = (target,) if record is None else record.targets
        self._health = HealthCheck(targets, self._learn, self._watchdog.is_recent, limits)

    @property
    def target(self) -> str:
        """Address (``HOST:PORT``) at which it is asked now."""
        return self._health.target

    @property
    def state(self) -> State:
        """State of the node: ``up``, or why it isn't."""
        return self._health.state

    @property
    def trouble(self) -> str:
        """Reason, in one line, why it isn't up."""
        return self._health.trouble

    @property
    def outstanding(self) -> int:
        """Number of our requests without an answer."""
        return len(self.at_node)

    @property
    def capabilities(self) -> Capabilities:
        """Services and tasks, as last told."""
        return self.skills.capabilities

    @property
    def uuid(self) -> str:
        """Identity of the node, where it says so."""
        announced = self.record.uuid if self.record is not None else ""
        return self.skills.fact("node.uuid") or announced

    @property
    def identity(self) -> tuple[str, str]:
        """Uuid and name, as said over gRPC: nodes on a copied data folder share the uuid alone."""
        return self.skills.fact("node.uuid"), self.skills.fact("node.name")

    @property
    def name(self) -> str:
        """Name that it announces, else its address."""
        announced = self.record.name if self.record is not None else ""
        return announced or self.skills.fact("node.name") or self.target

    @property
    def snapshot(self) -> Node:
        """Snapshot of all that is known of it now."""
        return Node(
            self.target,
            self.name,
            self.uuid,
            self.state,
            self.trouble,
            self.is_draining,
            self.capabilities,
        )

    def task_health(self, task: str) -> TaskHealth:
        """Return latency and circuit breaker of a task here."""
        health = self._tasks.get(task)
        if health is None:
            latency = NodeLatency(self._limits.latency_max_age)
            health = self._tasks[task] = TaskHealth(latency, CircuitBreaker())
        return health

    def announce(self, record: NodeRecord) -> None:
        """Take in that mDNS says something new of it: that may be the end of a rest."""
        self.record, self.listed = record, True
        self._health.targets = record.targets
        self.is_draining = self.skills.is_draining(record)
        for health in self._tasks.values():
            health.breaker.close()
        self._health.check_now()

    def unlist(self) -> None:
        """Take in that it isn't announced any more: it stays for as long as it answers."""
        self.listed = False
        self._health.check_now()

    def send(
        self,
        job: Job,
        bare: Job,
        asker: Asker,
        now: float,
        *,
        alone: bool = False,
    ) -> Exchange:
        """Send a request on the stream for all of them, or ``alone`` on one of its own.

        ``asker`` is told once, unless the exchange is cancelled before. ``bare`` is the job
        without its payload, ``now`` the loop's time.
        """
        exchange = Exchange(self, job, asker, now)
        exchange.alone = alone
        self._begin(exchange)
        exchange.link = link = self._links.single() if alone else self._links.shared()
        link.send(exchange, bare)
        if alone:
            link.finish()
        return exchange

    def finish(self, exchange: Exchange, result: Outcome | Unanswered) -> None:
        """Learn from what became of a request, and hand it on."""
        now = self._loop.time()
        seconds, ahead, health = now - exchange.started, exchange.ahead, exchange.health
        self.drop(exchange)
        if isinstance(result, Unanswered):
            failure = result.failure
            if result.why != "ended":
                health.latency.add_missing(seconds, ahead, now)
            elif not exchange.alone and (failure.code in LOST or result.company > 1):
                self._lose(exchange.link, failure, health.breaker)
            else:
                result = Outcome(exchange.assembly.job, error=failure)
                self._learn_of(health, failure, seconds, ahead, now)
        else:
            self._learn_of(health, result.error, seconds, ahead, now)
        exchange.asker.settle(result)

    def drop(self, exchange: Exchange) -> None:
        """Count a request no longer."""
        if exchange.alone:
            self._links.close_later(exchange.link)
        self._end(exchange)

    def open_parts(self, job: Job, deadline: float, affinity: ModelAffinity | None) -> PartCall:
        """Send a request whose parts are read one by one, over a call of its own.

        Give it back to ``close_parts``. ``deadline`` is of the loop's clock.
        """
        ahead, started = len(self.at_node) + self.others, self._loop.time()
        health = self.task_health(job.task)

        def began(failure: Failure | None) -> None:
            now = self._loop.time()
            if failure is not None and failure.code == "DEADLINE_EXCEEDED":
                health.latency.add_missing(now - started, ahead, now)
            self._learn_of(health, failure, now - started, ahead, now)

        call = PartCall(self._health.connection.call(deadline - started), job, affinity, began)
        self._begin(call)
        self._links.add(call)
        return call

    def close_parts(self, call: PartCall) -> None:
        """End the call, and with it the request, if it isn't done."""
        self._links.close_later(call)
        self._end(call)

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

    def _begin(self, work: AtNode) -> None:
        if not self.at_node:
            self._idle.clear()
            self._watchdog.begin()
        self.at_node.add(work)
        self._most = max(self._most, len(self.at_node))

    def _end(self, work: AtNode) -> None:
        self.at_node.discard(work)
        if not self.at_node:
            self._idle.set()
            self._watchdog.end()

    def _learn_of(
        self, health: TaskHealth, error: Failure | None, seconds: float, ahead: int, now: float
    ) -> None:
        """Take in an answer, or what the node said instead, after so many seconds."""
        if error is None:
            self._watchdog.add_answer(seconds)
            health.latency.add(seconds, ahead, now)
            health.breaker.succeed()
        elif error.code in FAILED:
            health.breaker.fail(now)
        elif error.code not in OF_THE_REQUEST:
            is_news = health.breaker.refuse(now, error.retry_after)
            if is_news and error.retry_after is None:
                # It may be draining, or have lost a model.
                self._health.check_now()

    def _lose(self, link: Link, failure: Failure, breaker: CircuitBreaker) -> None:
        """Take in that the shared stream ended; once for all of its requests."""
        if not self._links.forget(link):
            return
        now = self._loop.time()
        if failure is NO_ANSWER:
            # Some nodes, Lumen's for one, answer one request a call, or a few, and end it.
            self.takes_single = True
        elif failure.code == "RESOURCE_EXHAUSTED":
            breaker.refuse(now, failure.retry_after)
        elif failure.code in LOST:
            for each in self._tasks.values():
                each.breaker.refuse(now, failure.retry_after)
            self._health.doubt(f"{self.target}: {failure.message}")
        else:
            breaker.fail(now)

    def _connect(self) -> Link:
        return self._health.connection.link()  # whichever it is now

    def _check_now(self) -> None:
        self._health.check_now()

    def _give_up(self, seconds: float) -> bool:
        if not self._can_be_spared(self):
            return False
        self._links.give_up_all(_silent(seconds))
        return True

    def _give_up_late(self, seconds: float) -> None:
        """Take single requests away: a node may lose one, and answer all others."""
        if self._can_be_spared(self):
            self._links.give_up(self._loop.time() - seconds, _silent(seconds))

    def _learn(self) -> None:
        """Take in what the health check found."""
        health = self._health
        if health.state == "up":
            self.skills = Skills(health.capabilities)
            self.is_draining = self.skills.is_draining(self.record)
            # Ours were as many at some time since it was asked: they are none of others.
            self.others = max(0, self.skills.in_flight() - self._most)
            self._most = len(self.at_node)
        else:
            self.takes_single = False  # another node may come up there
        if health.state == "down":
            # Whoever waits there has waited for nothing: the node doesn't even say what it is.
            self._links.abort(Failure("UNAVAILABLE", health.trouble))
        self._changed()


def _silent(seconds: float) -> Failure:
    return Failure("UNAVAILABLE", f"no answer for {seconds:.0f} s")
