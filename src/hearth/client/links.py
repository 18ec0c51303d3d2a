"""The Infer calls to one node: one for all requests, and some for one request each."""

import asyncio
from collections.abc import Callable

from hearth.client.link import Link
from hearth.client.messages import Failure


class Links:
    """Opens them with ``connect``, and closes them."""

    def __init__(self, connect: Callable[[], Link]) -> None:
        self._connect = connect
        self._shared: Link | None = None
        self._single: set[Link] = set()
        self._closing: set[asyncio.Task[None]] = set()

    def shared(self) -> Link:
        """The one for all requests: another one, once it has ended."""
        if self._shared is None or self._shared.ended is not None:
            self._shared = self._connect()
        return self._shared

    def single(self) -> Link:
        """One for a single request; to be closed afterwards."""
        link = self._connect()
        self._single.add(link)
        return link

    def close_aside(self, link: Link) -> None:
        """Of a single request, whose answer is there: nobody waits for the end of the call."""
        self._single.discard(link)
        closing = asyncio.create_task(link.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def forget(self, link: Link) -> bool:
        """The shared one has ended; returns whether that is news."""
        is_news = self._shared is link
        if is_news:
            self._shared = None
        return is_news

    def heard(self) -> float | None:
        """When the node last sent anything, of the loop's clock; None where nothing is open."""
        return max((link.heard for link in self._open()), default=None)

    def give_up(self, before: float, failure: Failure) -> None:
        """End the requests that were sent before a time, of the loop's clock."""
        for link in self._open():
            link.give_up(before, failure)

    def abort(self, failure: Failure) -> None:
        """End all."""
        for link in self._open():
            link.abort(failure)

    async def close(self) -> None:
        """Cancel what is open."""
        await asyncio.gather(*(link.close() for link in self._all()), *self._closing)

    def _all(self) -> list[Link]:
        return [*self._single, *([self._shared] if self._shared is not None else [])]

    def _open(self) -> list[Link]:
        return [link for link in self._all() if link.ended is None]
