"""All the nodes that a client can use, and which of them is to do a request."""

import asyncio
import logging
import math
from collections.abc import Container, Iterator, Sequence
from contextlib import suppress

from hearth.catalog import TaskInfo
from hearth.client.affinity import ModelAffinity
from hearth.client.balancer import soonest
from hearth.client.membership import Membership
from hearth.client.node_handle import NodeHandle
from hearth.client.reasons import NOBODY, missing, unfit
from hearth.errors import DeadlinePassed, HearthError, Unavailable, UnknownTask

log = logging.getLogger(__name__)

SEARCH_SECONDS = 3.0
"""How long the LAN is searched before a task counts as one that no node can do."""
LOADING_SECONDS = 30.0
"""How long a node that was found may go on loading its models before it is given up."""
MOST_KNOWN = 100_000
"""Names that are remembered."""


class NodePool:
    """Nodes at ``addresses`` (``HOST:PORT``) and, with ``mdns``, those of the LAN."""

    def __init__(self, addresses: Sequence[str] = (), *, mdns: bool = True) -> None:
        self.membership = Membership(
            addresses, mdns=mdns, changed=self._tell, can_be_spared=self._can_be_spared
        )
        self._news = asyncio.Event()
        self._is_open = False
        self._told = ""
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
        """Raises RuntimeError where it isn't."""
        if not self._is_open:
            raise RuntimeError("the client isn't open: use it in a `with` block, or call open()")

    @property
    def handles(self) -> list[NodeHandle]:
        """All nodes that are known, the eldest acquaintance first."""
        return self.membership.handles

    @property
    def news(self) -> asyncio.Event:
        """It is set once something has changed with a node from now on."""
        return self._news

    def able(self, task: str, affinity: ModelAffinity | None = None) -> Iterator[NodeHandle]:
        """The nodes that can do a task now, those that rest from it as well.

        Of a composed request: those that can do all of it, or where none can, some of it.
        """
        if affinity is None or not affinity.entries:
            return self._able(task, affinity)
        handles = list(self._able(task, affinity))
        return iter([each for each in handles if affinity.suits(each)] or handles)

    def _able(self, task: str, affinity: ModelAffinity | None) -> Iterator[NodeHandle]:
        for handle in self.handles:
            if handle.state != "up" or task not in handle.skills.tasks or handle.is_draining:
                continue
            if affinity is not None and not affinity.allows(handle, task):
                continue
            yield handle

    def room(self, task: str, affinity: ModelAffinity | None = None) -> int:
        """How many requests in flight keep all nodes busy that can do a task; at least one."""
        return sum(handle.skills.windows[task] for handle in self.able(task, affinity)) or 1

    async def info(
        self, task: str, deadline: float, affinity: ModelAffinity | None = None
    ) -> TaskInfo:
        """What a task takes and gives; as ``pick``."""
        return (await self.pick(task, deadline, affinity)).skills.tasks[task]

    async def pick(
        self,
        task: str,
        deadline: float,
        affinity: ModelAffinity | None = None,
        avoid: Container[NodeHandle] = (),
    ) -> NodeHandle:
        """The node that will have done a request soonest; waits for one until ``deadline``.

        ``deadline`` is of the loop's clock. Nodes to ``avoid`` are chosen where there is no
        other. Raises Unavailable, UnknownTask, DeadlinePassed.
        """
        told = self._loop.time() + SEARCH_SECONDS if self._is_open else 0.0
        while True:
            self.check_open()
            now = self._loop.time()
            handle, wake = soonest(self.able(task, affinity), task, now, avoid)
            if handle is not None:
                self._told = ""
                if affinity is not None:
                    affinity.chose(handle, task)
                return handle
            if affinity is not None and math.isinf(wake) and affinity.release():
                continue
            if self._is_hopeless(task, now):
                raise UnknownTask(self.why(task))
            if affinity is not None and self._is_hopeless(task, now, affinity.asked):
                raise Unavailable(self.why(task, affinity))
            if now >= deadline:
                raise self._too_late(task, affinity)
            if now >= told:
                self._tell_once(task, affinity)
            looks = [when for when in (told, self._since + self._search) if when > now]
            await self._wait(min(deadline, wake, *looks))

    async def ready(
        self, task: str, timeout: float | None = None, affinity: ModelAffinity | None = None
    ) -> NodeHandle:
        """A node that can do a task.

        It is waited for ``timeout`` seconds; without one, as long as there is hope: some
        seconds for nodes to be found, and more for those that load. Raises UnknownTask where
        none can do it, Unavailable where none answers.
        """
        self.check_open()
        began = self._loop.time()
        while (handle := next(self.able(task, affinity), None)) is None:
            self.check_open()
            if timeout is not None:
                limit = began + timeout
            elif self._is_loading():
                limit = began + LOADING_SECONDS
            else:
                limit = self._since + self._search
            if self._loop.time() >= limit:
                lacking = any(each.state == "up" for each in self.handles)
                unknown = lacking and not any(self.able(task))
                raise (UnknownTask if unknown else Unavailable)(self.why(task, affinity))
            await self._wait(limit)
        return handle

    def _tell_once(self, task: str, affinity: ModelAffinity | None) -> None:
        """Whoever waits for long without a word from us takes it for a fault."""
        why = self.why(task, affinity)
        if why != self._told and not any(self.able(task, affinity)):
            self._told = why
            log.warning("waiting for a node that can do %s: %s", task, why)

    def _too_late(self, task: str, affinity: ModelAffinity | None) -> HearthError:
        why = self.why(task, affinity)
        busy = any(self.able(task, affinity))
        return DeadlinePassed(f"no answer in time: {why}") if busy else Unavailable(why)

    def why(self, task: str, affinity: ModelAffinity | None = None) -> str:
        """One line: why nobody can do a task now."""
        if not self.handles:
            return self.membership.deaf or NOBODY
        staying = [each for each in self.handles if each.state == "up" and not each.is_draining]
        up = {each.target: each.capabilities for each in staying}
        able = list(self.able(task))
        if affinity is not None and affinity.model and able and not any(self.able(task, affinity)):
            return unfit(task, affinity, (each.skills.models[task] for each in able))
        if able:
            return f"{', '.join(each.target for each in able)}: too busy for {task}"
        if not up:
            return "; ".join(map(_absence, self.handles))
        return missing(task, up)

    @property
    def _search(self) -> float:
        """Seconds until whoever is there has been found."""
        return SEARCH_SECONDS if self.membership.mdns else 0.0

    def _is_loading(self) -> bool:
        return any(each.state in {"new", "loading"} for each in self.handles)

    def _is_hopeless(self, task: str, now: float, model: str | None = None) -> bool:
        """Whether all nodes there are have said what they can do, and this isn't of it."""
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
        """Until something has changed with a node, or the time."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._news.wait()

    def _can_be_spared(self, handle: NodeHandle) -> bool:
        return all(
            any(each is not handle for each in self.able(task, affinity))
            for task, affinity in handle.wishes
        )

    def _tell(self) -> None:
        """Something has changed with a node: look again, all who wait for one."""
        for handle in self.handles:
            if handle.state == "up":
                self._ever |= handle.skills.known
        if len(self._ever) > MOST_KNOWN:
            self._ever.clear()
        news, self._news = self._news, asyncio.Event()
        news.set()


def _absence(handle: NodeHandle) -> str:
    if handle.is_draining and handle.state == "up":
        return f"{handle.target}: it is shutting down"
    return handle.trouble or f"{handle.target}: no answer yet"
