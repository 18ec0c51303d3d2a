"""Bounds on what all streams together may hold: first they aren't read on, then they are refused.

Up to a soft mark, half of each bound, streams share the room evenly; one that has its
part isn't read on, and HTTP/2's flow control slows its client down. The other half is for
streams that have nothing in flight yet, a request each. What would pass the hard bound is
refused. Chunks of incomplete requests count and never wait: they could wait for each other;
so they are refused past half of the bytes, or uploads that stall would keep everybody out.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

from hearth.errors import Overloaded
from hearth.serving.service_rate import ServiceRate

MOST_IN_FLIGHT = 256
"""Requests of one stream: the largest batch four times over, one that runs, two that are
prepared meanwhile, and what is on its way. More would only wait elsewhere."""

MOST_IN_PARTS = 4
"""Answers in parts beside which a stream is read on, however full the node is."""

CHUNKS = 1024 * 1024
"""Bytes that the largest request's chunks may take beside their payloads."""


class AdmissionStatistics(NamedTuple):
    """A reading of what the node holds; ``refused`` counts since it was made."""

    in_flight: int
    """Requests, from when they are whole until their answers are written."""
    held_bytes: int
    """Bytes of payloads, of answers that aren't written yet, and of incomplete requests."""
    streams: int
    """Streams that have something in flight."""
    waiting: int
    """Streams that aren't read on for lack of room."""
    refused: int
    """Requests for which there was no room."""


class Admission:
    """The node's bounds: ``most_items`` requests in flight and ``most_bytes`` of payloads.

    ``largest_request`` is in bytes: so much can be taken in chunks whatever the bounds are.
    It belongs to one loop, as the streams do.
    """

    def __init__(
        self,
        most_items: int,
        most_bytes: int,
        *,
        largest_request: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most_items = most_items
        self.most_bytes = most_bytes
        self._largest_request = largest_request
        self.items = self.bytes = self.incomplete = 0
        """Requests and bytes that are held now, by all budgets."""
        self.streams = 0
        """Budgets with something in flight."""
        self.refused = 0
        self.service_rate = ServiceRate(clock)
        self.waits: OrderedDict[StreamBudget, asyncio.Future[None]] = OrderedDict()
        """Streams that aren't read on; the one whose turn it is to be looked at comes first."""
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def most_incomplete(self) -> int:
        """Bytes of ``most_bytes`` that incomplete requests may take."""
        # A single request of the allowed size is possible in chunks too, on an idle node.
        return max(self.most_bytes // 2, self._largest_request + CHUNKS)

    def resize(self, most_items: int, most_bytes: int) -> None:
        """Change the bounds; what is held beyond them stays until it is given back."""
        self.most_items, self.most_bytes = most_items, most_bytes
        for budget in list(self.waits):
            self._look_at(budget)

    def open(self) -> "StreamBudget":
        """Give a new stream its budget, of which nothing is taken yet."""
        return StreamBudget(self)

    async def idle(self) -> None:
        """Return when nothing is in flight: all answers are written."""
        await self._idle.wait()

    def statistics(self) -> AdmissionStatistics:
        """Take a consistent reading."""
        return AdmissionStatistics(
            self.items, self.bytes, self.streams, len(self.waits), self.refused
        )

    def joined(self) -> None:
        """Note that a stream has something in flight that had nothing."""
        self.streams += 1
        if self.streams == 1:
            self._idle.clear()
            self.service_rate.begin(1)

    def left(self) -> None:
        """Note that a stream has nothing in flight any more."""
        self.streams -= 1
        if not self.streams:
            self._idle.set()

    async def turn(self, budget: "StreamBudget") -> None:
        """Return when a stream that waits has room."""
        waiter = self.waits[budget] = asyncio.get_running_loop().create_future()
        try:
            await waiter
        finally:
            self.waits.pop(budget, None)

    def wake(self, budget: "StreamBudget", others: int = 1) -> None:
        """Look at a stream that gave something back, and in turn at some of those that wait.

        So nobody wakes a herd, and nobody is forgotten: a stream that waits has something
        in flight, and is looked at again when that is given back.
        """
        self._look_at(budget)
        for other in list(islice(self.waits, others)):
            self._look_at(other)

    def _look_at(self, budget: "StreamBudget") -> None:
        if (waiter := self.waits.get(budget)) is None:
            return
        if budget.is_full:
            self.waits.move_to_end(budget)
            return
        del self.waits[budget]
        if not waiter.done():
            waiter.set_result(None)


class StreamBudget:
    """The part of the node's room that one stream holds."""

    def __init__(self, node: Admission) -> None:
        self.items = 0
        """Requests in flight."""
        self.bytes = 0
        """Bytes of payloads, of answers that aren't written yet, and of incomplete requests."""
        self.incomplete = 0
        """Bytes of the last alone."""
        self._node = node
        self._exempt = False
        self._answers_in_parts = self._in_parts = 0
        """Requests in flight that are being answered in parts, up to MOST_IN_PARTS of them."""

    @property
    def is_full(self) -> bool:
        """Whether the stream isn't to be read on for now.

        Never where nothing is in flight, or a few answers in parts alone, which may take long:
        the client must be able to call them off.
        """
        if self.items <= self._in_parts or self._exempt:
            return False
        node = self._node
        items, held = node.most_items // 2, node.most_bytes // 2
        return (
            self.items >= MOST_IN_FLIGHT
            or self.items >= max(1, items // node.streams)
            or self.bytes > held // node.streams
            or node.items >= items
            or node.bytes > held
        )

    @property
    def spare_for_chunks(self) -> int:
        """Bytes that incomplete requests can still take."""
        node = self._node
        return min(node.most_bytes - node.bytes, node.most_incomplete - node.incomplete)

    async def room(self) -> None:
        """Wait while the budget is full; streams that wait have their turns."""
        while self.is_full:
            await self._node.turn(self)

    def try_take(self, size: int) -> Overloaded | None:
        """Have one more request in flight, with a payload of ``size`` bytes.

        Gives the refusal where there is no room; then too it is in flight, without its payload,
        until that is written. Returned and not raised: with a traceback it would keep the payload
        alive.
        """
        node = self._node
        refusal = None
        if node.items >= node.most_items or size > node.most_bytes - node.bytes:
            refusal, size = self.full(), 0
        self.take(size)
        return refusal

    def take(self, size: int) -> None:
        """Have one more request in flight, whether there is room for it or not."""
        node = self._node
        if not self.items:
            node.joined()
        self.items += 1
        node.items += 1
        self.bytes += size
        node.bytes += size

    def full(self) -> Overloaded:
        """Say that the node has no room for a request, and when it may have some again."""
        node = self._node
        node.refused += 1
        return Overloaded(
            f"this node is full: it holds at most {node.most_items} requests, "
            f"and {node.most_bytes >> 20} MiB of them",
            retry_after=node.service_rate.retry_after(node.items),
        )

    def served(self) -> None:
        """Count one of the requests in flight as served; its answer is still to be written."""
        service_rate = self._node.service_rate
        service_rate.left -= 1
        if service_rate.left <= 0:
            service_rate.over(self._node.items)

    def answer(self, size: int) -> None:
        """Hold the ``size`` bytes of an answer too, until they are written."""
        if not self.items:
            return  # closed meanwhile: work that goes on when it is called off
        self.bytes += size
        self._node.bytes += size

    def give_back(self, size: int, items: int = 1) -> None:
        """Give back what a request held, and its answer: that is written."""
        if not self.items:
            return  # closed meanwhile
        node = self._node
        self.items -= items
        node.items -= items
        self.bytes -= size
        node.bytes -= size
        if not self.items:
            node.left()
        if node.waits:
            node.wake(self, items)

    def hold(self, change: int) -> None:
        """Hold so many more bytes of incomplete requests, or fewer where ``change`` is negative."""
        self.incomplete += change
        self.bytes += change
        self._node.incomplete += change
        self._node.bytes += change
        if change < 0 and self._node.waits:
            self._node.wake(self)

    def answer_in_parts(self, change: int) -> None:
        """Count an answer in parts that begins (1), or is at its end (-1)."""
        self._answers_in_parts += change
        self._in_parts = min(self._answers_in_parts, MOST_IN_PARTS)
        if self._node.waits:
            self._node.wake(self)

    def exempt(self, exempt: bool) -> None:
        """Let the stream be read on whatever it holds, or no longer."""
        self._exempt = exempt
        if self._node.waits:
            self._node.wake(self)

    def close(self) -> None:
        """Give back whatever is left: the stream has ended."""
        self.hold(-self.incomplete)
        if self.items:
            self.give_back(self.bytes, self.items)
