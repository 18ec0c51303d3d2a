"""All the nodes that a client can use, and which of them is to do a request."""

import asyncio
import logging
import math
from collections.abc import Container, Iterator, Sequence
from contextlib import suppress

from hearth.client.capabilities import TaskInfo
from hearth.client.choice import soonest
from hearth.client.member import Member
from hearth.client.pin import Pin
from hearth.client.reasons import NOBODY, missing, unfit
from hearth.client.roster import Roster
from hearth.errors import DeadlinePassed, HearthError, Unavailable, UnknownTask

log = logging.getLogger(__name__)

SEARCH_SECONDS = 3.0
"""How long the LAN is searched before a task counts as one that no node can do."""
LOADING_SECONDS = 30.0
"""How long a node that was found may go on loading its models before it is given up."""
MOST_KNOWN = 100_000
"""Names that are remembered."""


class Fleet:
    """Nodes at ``addresses`` (``HOST:PORT``) and, with ``mdns``, those of the LAN."""

    def __init__(self, addresses: Sequence[str] = (), *, mdns: bool = True) -> None:
        self.roster = Roster(
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
            await self.roster.open()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Cancel what is open."""
        self._is_open = False
        await self.roster.close()
        self._tell()

    def check_open(self) -> None:
        """Raises RuntimeError where it isn't."""
        if not self._is_open:
            raise RuntimeError("the client isn't open: use it in a `with` block, or call open()")

    @property
    def members(self) -> list[Member]:
        """All nodes that are known, the eldest acquaintance first."""
        return self.roster.members

    @property
    def news(self) -> asyncio.Event:
        """It is set once something has changed with a node from now on."""
        return self._news

    def able(self, task: str, pin: Pin | None = None) -> Iterator[Member]:
        """The nodes that can do a task now, those that rest from it as well.

        Of a composed request: those that can do all of it, or where none can, some of it.
        """
        if pin is None or not pin.entries:
            return self._able(task, pin)
        members = list(self._able(task, pin))
        return iter([each for each in members if pin.suits(each)] or members)

    def _able(self, task: str, pin: Pin | None) -> Iterator[Member]:
        for member in self.members:
            if member.state != "up" or task not in member.skills.tasks or member.is_draining:
                continue
            if pin is not None and not pin.allows(member, task):
                continue
            yield member

    def room(self, task: str, pin: Pin | None = None) -> int:
        """How many requests in flight keep all nodes busy that can do a task; at least one."""
        return sum(member.skills.windows[task] for member in self.able(task, pin)) or 1

    async def info(self, task: str, deadline: float, pin: Pin | None = None) -> TaskInfo:
        """What a task takes and gives; as ``pick``."""
        return (await self.pick(task, deadline, pin)).skills.tasks[task]

    async def pick(
        self,
        task: str,
        deadline: float,
        pin: Pin | None = None,
        avoid: Container[Member] = (),
    ) -> Member:
        """The node that will have done a request soonest; waits for one until ``deadline``.

        ``deadline`` is of the loop's clock. Nodes to ``avoid`` are chosen where there is no
        other. Raises Unavailable, UnknownTask, DeadlinePassed.
        """
        told = self._loop.time() + SEARCH_SECONDS if self._is_open else 0.0
        while True:
            self.check_open()
            now = self._loop.time()
            member, wake = soonest(self.able(task, pin), task, now, avoid)
            if member is not None:
                self._told = ""
                if pin is not None:
                    pin.chose(member, task)
                return member
            if pin is not None and math.isinf(wake) and pin.release():
                continue
            if self._is_hopeless(task, now):
                raise UnknownTask(self.why(task))
            if pin is not None and self._is_hopeless(task, now, pin.asked):
                raise Unavailable(self.why(task, pin))
            if now >= deadline:
                raise self._too_late(task, pin)
            if now >= told:
                self._tell_once(task, pin)
            looks = [when for when in (told, self._since + self._search) if when > now]
            await self._wait(min(deadline, wake, *looks))

    async def ready(
        self, task: str, timeout: float | None = None, pin: Pin | None = None
    ) -> Member:
        """A node that can do a task.

        It is waited for ``timeout`` seconds; without one, as long as there is hope: some
        seconds for nodes to be found, and more for those that load. Raises UnknownTask where
        none can do it, Unavailable where none answers.
        """
        self.check_open()
        began = self._loop.time()
        while (member := next(self.able(task, pin), None)) is None:
            self.check_open()
            if timeout is not None:
                limit = began + timeout
            elif self._is_loading():
                limit = began + LOADING_SECONDS
            else:
                limit = self._since + self._search
            if self._loop.time() >= limit:
                lacking = any(each.state == "up" for each in self.members)
                unknown = lacking and not any(self.able(task))
                raise (UnknownTask if unknown else Unavailable)(self.why(task, pin))
            await self._wait(limit)
        return member

    def _tell_once(self, task: str, pin: Pin | None) -> None:
        """Whoever waits for long without a word from us takes it for a fault."""
        why = self.why(task, pin)
        if why != self._told and not any(self.able(task, pin)):
            self._told = why
            log.warning("waiting for a node that can do %s: %s", task, why)

    def _too_late(self, task: str, pin: Pin | None) -> HearthError:
        why = self.why(task, pin)
        busy = any(self.able(task, pin))
        return DeadlinePassed(f"no answer in time: {why}") if busy else Unavailable(why)

    def why(self, task: str, pin: Pin | None = None) -> str:
        """One line: why nobody can do a task now."""
        if not self.members:
            return self.roster.deaf or NOBODY
        staying = [each for each in self.members if each.state == "up" and not each.is_draining]
        up = {each.target: each.capabilities for each in staying}
        able = list(self.able(task))
        if pin is not None and pin.model and able and not any(self.able(task, pin)):
            return unfit(task, pin, (each.skills.models[task] for each in able))
        if able:
            return f"{', '.join(each.target for each in able)}: too busy for {task}"
        if not up:
            return "; ".join(map(_absence, self.members))
        return missing(task, up)

    @property
    def _search(self) -> float:
        """Seconds until whoever is there has been found."""
        return SEARCH_SECONDS if self.roster.mdns else 0.0

    def _is_loading(self) -> bool:
        return any(each.state in {"new", "loading"} for each in self.members)

    def _is_hopeless(self, task: str, now: float, model: str | None = None) -> bool:
        """Whether all nodes there are have said what they can do, and this isn't of it."""
        if (
            {task, model or task} <= self._ever
            or now < self._since + self._search
            or not self.members
        ):
            return False
        return all(
            each.state == "up" and not each.capabilities.changing and not each.is_draining
            for each in self.members
        )

    async def _wait(self, until: float) -> None:
        """Until something has changed with a node, or the time."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._news.wait()

    def _can_be_spared(self, member: Member) -> bool:
        return all(
            any(each is not member for each in self.able(task, pin)) for task, pin in member.wishes
        )

    def _tell(self) -> None:
        """Something has changed with a node: look again, all who wait for one."""
        for member in self.members:
            if member.state == "up":
                self._ever |= member.skills.known
        if len(self._ever) > MOST_KNOWN:
            self._ever.clear()
        news, self._news = self._news, asyncio.Event()
        news.set()


def _absence(member: Member) -> str:
    if member.is_draining and member.state == "up":
        return f"{member.target}: it is shutting down"
    return member.trouble or f"{member.target}: no answer yet"
