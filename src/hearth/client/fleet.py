"""All the nodes that a client can use, and which of them is to do a request."""

import asyncio
import math
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress

from hearth.client.capabilities import TaskInfo
from hearth.client.member import Member
from hearth.client.pace import Pace
from hearth.client.pin import Pin
from hearth.client.reasons import NOBODY, missing
from hearth.discovery.browser import Browser
from hearth.discovery.record import NodeRecord
from hearth.errors import DeadlinePassed, HearthError, Unavailable, UnknownTask

SEARCH_SECONDS = 3.0
"""How long the LAN is searched before a task counts as one that no node can do."""
LOADING_SECONDS = 30.0
"""How long a node that was found may go on loading its models before it is given up."""
LAST_RESORT = 1e9
"""Seconds, far beyond any: what a node that has just failed at a request is taken to need."""


class Fleet:
    """Nodes at ``addresses`` (``HOST:PORT``) and, with ``mdns``, those of the LAN.

    An async context manager; raises Unavailable where mDNS can't be used and no address is
    given.
    """

    def __init__(self, addresses: Iterable[str] = (), *, mdns: bool = True) -> None:
        self._addresses = list(addresses)
        self._mdns = mdns
        self._members: dict[str, Member] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._browser: Browser | None = None
        self._browsing: asyncio.Task[None] | None = None
        self._deaf = ""
        self._news = asyncio.Event()
        self._is_open = False
        self._ever: set[tuple[str, str | None]] = set()

    async def open(self) -> None:
        """Begin to look for nodes, and to ask them."""
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._is_open = True
        for address in self._addresses:
            self._members[address] = self._member(address)
        if self._mdns:
            await self._listen()

    async def close(self) -> None:
        """Cancel what is open."""
        self._is_open = False
        if self._browsing is not None and self._browser is not None:
            self._browsing.cancel()
            await asyncio.gather(self._browsing, return_exceptions=True)
            await self._browser.__aexit__()
        members, self._members = self._members, {}
        for leaving in self._leaving:
            leaving.cancel()
        await asyncio.gather(
            *(member.close() for member in members.values()),
            *self._leaving,
            return_exceptions=True,
        )
        self._tell()

    def check_open(self) -> None:
        """Raises RuntimeError where it isn't."""
        if not self._is_open:
            raise RuntimeError("the client isn't open: use it inside its `with` block")

    @property
    def members(self) -> list[Member]:
        """All nodes that are known, the eldest acquaintance first."""
        return list(self._members.values())

    @property
    def news(self) -> asyncio.Event:
        """It is set once something has changed with a node from now on."""
        return self._news

    def able(self, task: str, pin: Pin | None = None) -> Iterator[Member]:
        """The nodes that can do a task now, those that rest from it as well."""
        for member in self._members.values():
            if member.state != "up" or task not in member.tasks or member.is_draining:
                continue
            if pin is not None and not pin.allows(member, task):
                continue
            if self._addresses and self._is_named(member):
                continue
            yield member

    def room(self, task: str, pin: Pin | None = None) -> int:
        """How many requests in flight keep all nodes busy that can do a task; at least one."""
        return sum(member.window(task) for member in self.able(task, pin)) or 1

    async def info(self, task: str, deadline: float, pin: Pin | None = None) -> TaskInfo:
        """What a task takes and gives; as ``pick``."""
        return (await self.pick(task, deadline, pin)).tasks[task]

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
        while True:
            self.check_open()
            now = self._loop.time()
            member, wake = self._best(task, now, pin, avoid)
            if member is not None:
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
            await self._wait(min(deadline, wake, now + SEARCH_SECONDS))

    def _best(
        self, task: str, now: float, pin: Pin | None, avoid: Container[Member]
    ) -> tuple[Member | None, float]:
        """The best node, if there is one, else when the first of those that rest is back."""
        wake = math.inf
        awake: list[tuple[Member, Pace]] = []
        doubted: list[tuple[Member, Pace]] = []
        for member in self.able(task, pin):
            pace = member.pace(task)
            if pace.rest_until > now:
                wake = min(wake, pace.rest_until)
                if pace.is_doubted:
                    doubted.append((member, pace))
            else:
                awake.append((member, pace))
        # The requests may be at fault: a lone node isn't left for minutes because of them.
        awake = awake or doubted
        if len(awake) <= 1:
            return (awake[0][0] if awake else None), wake
        # A node of which nothing is known yet, or for long, is taken for one like the fastest.
        guess = min((pace.seconds for _, pace in awake if pace.seconds is not None), default=1.0)
        any_fresh = not all(pace.is_old(now) for _, pace in awake)

        def need(entry: tuple[Member, Pace]) -> float:
            member, pace = entry
            is_tried = any_fresh and not member.outstanding and pace.is_old(now)
            seconds = (None if is_tried else pace.seconds) or guess
            soon = (member.outstanding + member.others + 1) * seconds
            return soon + LAST_RESORT if member in avoid else soon

        return min(awake, key=need)[0], wake

    async def ready(self, task: str, timeout: float | None = None) -> Member:
        """A node that can do a task.

        It is waited for ``timeout`` seconds; without one, as long as there is hope: some
        seconds for nodes to be found, and more for those that load. Raises UnknownTask where
        none can do it, Unavailable where none answers.
        """
        self.check_open()
        began = self._loop.time()
        while (member := next(self.able(task), None)) is None:
            self.check_open()
            if timeout is not None:
                limit = began + timeout
            elif self._is_loading():
                limit = began + LOADING_SECONDS
            else:
                limit = self._since + self._search
            if self._loop.time() >= limit:
                up = any(each.state == "up" for each in self.members)
                raise (UnknownTask if up else Unavailable)(self.why(task))
            await self._wait(limit)
        return member

    def _too_late(self, task: str, pin: Pin | None) -> HearthError:
        why = self.why(task, pin)
        busy = any(self.able(task, pin))
        return DeadlinePassed(f"no answer in time: {why}") if busy else Unavailable(why)

    def why(self, task: str, pin: Pin | None = None) -> str:
        """One line: why nobody can do a task now."""
        if not self._members:
            return self._deaf or NOBODY
        up = {each.target: each.capabilities for each in self.members if each.state == "up"}
        able = list(self.able(task))
        if pin is not None and pin.model and able and not any(self.able(task, pin)):
            if pin.asked:
                models = sorted({model for each in able for model in each.models[task]})
                told = f"; there is {', '.join(models)}" if models else ""
                return f"no node has the model {pin.asked} for {task}{told}"
            return f"no node has the model {pin.model} for {task} now, and answers of two don't mix"
        if able:
            return f"{', '.join(each.target for each in able)}: too busy for {task}"
        troubles = [each.trouble for each in self.members if each.trouble]
        if not up:
            return "; ".join(troubles) or f"{', '.join(self._members)}: no answer yet"
        return missing(task, up)

    @property
    def _search(self) -> float:
        """Seconds until whoever is there has been found."""
        return SEARCH_SECONDS if self._mdns else 0.0

    def _is_loading(self) -> bool:
        return any(each.state in {"new", "loading"} for each in self.members)

    def _is_hopeless(self, task: str, now: float, model: str | None = None) -> bool:
        """Whether all nodes there are have said what they can do, and this isn't of it."""
        if (task, model) in self._ever or now < self._since + self._search or not self._members:
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

    def _member(self, target: str, record: NodeRecord | None = None) -> Member:
        member = Member(target, self._tell, record)
        member.can_be_spared = self._can_be_spared
        return member

    def _is_named(self, member: Member) -> bool:
        """Whether a node that was found is one that was named as well."""
        return member.record is not None and any(
            member.identity[0] and member.identity == each.identity and each.state == "up"
            for each in map(self._members.get, self._addresses)
            if each is not None
        )

    def _can_be_spared(self, member: Member) -> bool:
        asked = [task for task, count in member.asked.items() if count]
        return any(each is not member for task in asked for each in self.able(task))

    async def _listen(self) -> None:
        browser = Browser()
        try:
            await browser.__aenter__()
        except Unavailable as error:
            if not self._addresses:
                raise
            self._deaf = str(error)
            return
        self._browser = browser
        self._browsing = asyncio.create_task(self._follow(browser))

    async def _follow(self, browser: Browser) -> None:
        async for _ in browser:
            self._compare(browser.nodes)

    def _compare(self, records: Iterable[NodeRecord]) -> None:
        """Take up what mDNS says now; a node that has moved is another one, at its new place."""
        found = {record.target: record for record in records}
        uuids = {record.uuid for record in found.values() if record.uuid}
        for target, member in list(self._members.items()):
            before = member.record
            if before is None or target in found:
                continue
            if before.uuid in uuids:
                self._retire(target)
            elif member.listed:
                member.unlisted()
        for target, record in found.items():
            known = self._members.get(target)
            if known is None:
                self._members[target] = self._member(target, record)
            elif known.record is not None and (known.record != record or not known.listed):
                known.seen(record)
        self._tell()

    def _retire(self, target: str) -> None:
        """Send it nothing more; what it has of ours may still come."""
        leaving = asyncio.create_task(self._members.pop(target).leave())
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    def _tell(self) -> None:
        """Something has changed with a node: look again, all who wait for one."""
        for target, member in list(self._members.items()):
            if member.state == "up":
                self._ever |= {(task, None) for task in member.tasks}
                self._ever |= {
                    (task, each) for task in member.models for each in member.models[task]
                }
            elif not member.listed:
                self._retire(target)
        news, self._news = self._news, asyncio.Event()
        news.set()
