"""All the nodes that a client can use, and which of them is to do a request."""

import asyncio
import logging
import math
from collections.abc import Container, Sequence
from contextlib import suppress

from hearth.catalog import TaskInfo
from hearth.client import balancer
from hearth.client.affinity import ModelAffinity
from hearth.client.balancer import NodeChoice
from hearth.client.limits import DEFAULT_LIMITS, ClientLimits
from hearth.client.membership import Membership
from hearth.client.node_handle import NodeHandle
from hearth.client.reasons import NOBODY, missing, unfit
from hearth.errors import DeadlinePassed, HearthError, Unavailable, UnknownTask

log = logging.getLogger(__name__)

LOADING_SECONDS = 30.0
"""Time for which a node that was found may go on loading its models before it is given up."""
MAX_KNOWN = 100_000
"""Number of names that are remembered."""


class NodePool:
    """Nodes at ``addresses`` (``HOST:PORT``) and, with ``mdns``, those of the LAN."""

    def __init__(
        self,
        addresses: Sequence[str] = (),
        *,
        mdns: bool = True,
        limits: ClientLimits = DEFAULT_LIMITS,
    ) -> None:
        self.membership = Membership(
            addresses,
            mdns=mdns,
            limits=limits,
            changed=self._tell,
            can_be_spared=self._can_be_spared,
        )
        # Seconds until whoever is there has been found, and until waiting is told of.
        self._search = limits.search_seconds if mdns else 0.0
        self._warn_after = limits.search_seconds
        self._news = asyncio.Event()
        self._is_open = False
        self._warned = ""
        self._ever: set[str] = set()
        """Tasks and models that a node once had: they may come back."""

    async def open(self) -> None:
        """Begin to look for nodes, and to ask them.

        Raises Unavailable where mDNS can't be used and no address is given.
        """
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._is_open = True
        try:
            await self.membership.open()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Cancel what is open."""
        self._is_open = False
        await self.membership.close()
        self._tell()

    def check_open(self) -> None:
        """Raise RuntimeError where it isn't open."""
        if not self._is_open:
            raise RuntimeError("the client isn't open: use it in a `with` block, or call open()")

    @property
    def handles(self) -> list[NodeHandle]:
        """All nodes that are known, the eldest acquaintance first."""
        return self.membership.handles

    @property
    def news(self) -> asyncio.Event:
        """Event that is set once something changes with a node; another one after that."""
        return self._news

    def able(self, task: str, affinity: ModelAffinity | None = None) -> list[NodeHandle]:
        """List the nodes that can do a task now, those that rest from it as well.

        Of a composed request: those that can do all of it, or where none can, some of it.
        """
        handles = [
            handle
            for handle in self.membership.handles
            if handle.state == "up"
            and task in handle.skills.tasks
            and not handle.is_draining
            and (affinity is None or affinity.allows(handle, handle.skills, task))
        ]
        if affinity is None or not affinity.entries:
            return handles
        return [each for each in handles if affinity.suits(each.skills)] or handles

    def room(self, task: str, affinity: ModelAffinity | None = None) -> int:
        """Count the requests in flight that keep all nodes busy with a task; at least one."""
        return sum(each.skills.windows[task] for each in self.able(task, affinity)) or 1

    async def info(
        self, task: str, deadline: float, affinity: ModelAffinity | None = None
    ) -> TaskInfo:
        """Return what a task takes and gives; waits and raises as ``pick``."""
        return (await self.pick(task, deadline, affinity)).skills.tasks[task]

    def choose(
        self,
        task: str,
        now: float,
        affinity: ModelAffinity | None = None,
        avoid: Container[NodeHandle] = (),
    ) -> NodeHandle | None:
        """Choose the node that will have done a request soonest; None where ``pick`` has to wait.

        Nodes to ``avoid`` are chosen where there is no other. ``now`` is the loop's time.
        """
        if not self._is_open:
            self.check_open()
        return self._choose(task, now, affinity, avoid).handle

    async def pick(
        self,
        task: str,
        deadline: float,
        affinity: ModelAffinity | None = None,
        avoid: Container[NodeHandle] = (),
    ) -> NodeHandle:
        """Choose a node as ``choose``, and wait for one until ``deadline``, of the loop's clock.

        Raises Unavailable, UnknownTask, DeadlinePassed.
        """
        warn_at = self._loop.time() + self._warn_after if self._is_open else 0.0
        while True:
            self.check_open()
            now = self._loop.time()
            handle, wake = self._choose(task, now, affinity, avoid)
            if handle is not None:
                return handle
            if affinity is not None and math.isinf(wake) and affinity.release():
                continue
            if self._is_hopeless(task, now):
                raise UnknownTask(self.why(task))
            if affinity is not None and self._is_hopeless(task, now, affinity.requested):
                raise Unavailable(self.why(task, affinity))
            if now >= deadline:
                raise self._too_late(task, affinity)
            if now >= warn_at:
                self._warn_once(task, affinity)
            looks = [when for when in (warn_at, self._since + self._search) if when > now]
            await self._wait(min(deadline, wake, *looks))

    async def ready(
        self, task: str, timeout: float | None = None, affinity: ModelAffinity | None = None
    ) -> NodeHandle:
        """Return a node that can do a task, once there is one.

        It is waited for ``timeout`` seconds; without one, as long as there is hope: some
        seconds for nodes to be found, and more for those that load. Raises UnknownTask where
        none can do it, Unavailable where none answers.
        """
        self.check_open()
        began = self._loop.time()
        while not (able := self.able(task, affinity)):
            self.check_open()
            if timeout is not None:
                limit = began + timeout
            elif any(each.state in {"new", "loading"} for each in self.handles):
                limit = began + LOADING_SECONDS
            else:
                limit = self._since + self._search
            if self._loop.time() >= limit:
                lacking = any(each.state == "up" for each in self.handles)
                unknown = lacking and not self.able(task)
                raise (UnknownTask if unknown else Unavailable)(self.why(task, affinity))
            await self._wait(limit)
        return able[0]

    def why(self, task: str, affinity: ModelAffinity | None = None) -> str:
        """Say in one line why nobody can do a task now."""
        if not self.handles:
            return self.membership.deaf or NOBODY
        staying = [each for each in self.handles if each.state == "up" and not each.is_draining]
        up = {each.target: each.capabilities for each in staying}
        able = self.able(task)
        if affinity is not None and affinity.model and able and not self.able(task, affinity):
            return unfit(task, affinity, (each.skills.models[task] for each in able))
        if able:
            return f"{', '.join(each.target for each in able)}: too busy for {task}"
        if not up:
            return "; ".join(map(_absence, self.handles))
        return missing(task, up)

    def _choose(
        self,
        task: str,
        now: float,
        affinity: ModelAffinity | None,
        avoid: Container[NodeHandle],
    ) -> NodeChoice:
        choice = balancer.choose(self.able(task, affinity), task, now, avoid)
        if choice.handle is not None:
            self._warned = ""
            if affinity is not None:
                affinity.choose(choice.handle.skills, task)
        return choice

    def _warn_once(self, task: str, affinity: ModelAffinity | None) -> None:
        """Log what is waited for: who waits for long without a word takes it for a fault."""
        why = self.why(task, affinity)
        if why != self._warned and not self.able(task, affinity):
            self._warned = why
            log.warning("waiting for a node that can do %s: %s", task, why)

    def _too_late(self, task: str, affinity: ModelAffinity | None) -> HearthError:
        why = self.why(task, affinity)
        busy = self.able(task, affinity)
        return DeadlinePassed(f"no answer in time: {why}") if busy else Unavailable(why)

    def _is_hopeless(self, task: str, now: float, model: str | None = None) -> bool:
        """Tell whether all nodes there are have said what they can do, and this isn't of it."""
        if (
            {task, model or task} <= self._ever
            or now < self._since + self._search
            or not self.handles
        ):
            return False
        return all(
            each.state == "up" and not each.capabilities.changing and not each.is_draining
            for each in self.handles
        )

    async def _wait(self, until: float) -> None:
        """Wait until something has changed with a node, or for the time."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._news.wait()

    def _can_be_spared(self, handle: NodeHandle) -> bool:
        wishes = {(work.job.task, work.affinity) for work in handle.at_node}
        return all(
            any(each is not handle for each in self.able(task, affinity))
            for task, affinity in wishes
        )

    def _tell(self) -> None:
        """Have all look again who wait for a node: something has changed with one."""
        for handle in self.handles:
            if handle.state == "up":
                self._ever |= handle.skills.known
        if len(self._ever) > MAX_KNOWN:
            self._ever.clear()
        news, self._news = self._news, asyncio.Event()
        news.set()


def _absence(handle: NodeHandle) -> str:
    if handle.is_draining and handle.state == "up":
        return f"{handle.target}: it is shutting down"
    return handle.trouble or f"{handle.target}: no answer yet"
