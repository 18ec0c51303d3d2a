"""The order in which the messages of one stream are written."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import chain

from hearth.client.chunks import split
from hearth.client.messages import Job
from hearth.contract.ml_service_pb2 import InferRequest

SHORT = 64 << 10
"""Bytes of a payload: what is no longer doesn't wait behind pictures."""


class Outgoing:
    """Requests wait in two lines, the short and the long, which take turns message by message.

    So a search is sent at once while pictures of many megabytes are on their way. Of those
    one is sent after the other: a node bounds what it holds of unfinished requests.
    ``is_wanted`` says, of a request's key, whether anybody still waits for it; ``refuse`` is
    told of those that no message can be made of.
    """

    def __init__(
        self, is_wanted: Callable[[str], bool], refuse: Callable[[str, Exception], None]
    ) -> None:
        self._is_wanted = is_wanted
        self._refuse = refuse
        self._short: deque[tuple[str, Job]] = deque()
        self._long: deque[tuple[str, Job]] = deque()
        self._chunks: Iterator[InferRequest] = iter(())
        self._finished = False
        self._news = asyncio.Event()

    def put(self, key: str, job: Job) -> None:
        """One more request."""
        line = self._short if len(job.payload) <= SHORT else self._long
        line.append((key, job))
        self._news.set()

    def finish(self) -> None:
        """No more come."""
        self._finished = True
        self._news.set()

    async def messages(self) -> AsyncIterator[InferRequest]:
        """Each as its turn comes, to the end of the last request."""
        while True:
            short, chunk = self._next_short(), self._next_chunk()
            if short is not None:
                yield short
            if chunk is not None:
                yield chunk
            if short is None and chunk is None:
                if self._finished:
                    return
                self._news.clear()
                await self._news.wait()

    def _next_short(self) -> InferRequest | None:
        return next(self._begin(self._short), None)

    def _next_chunk(self) -> InferRequest | None:
        # Once begun, a request is sent to its end: the node waits for the rest.
        if (chunk := next(self._chunks, None)) is None:
            self._chunks = self._begin(self._long)
            chunk = next(self._chunks, None)
        return chunk

    def _begin(self, line: deque[tuple[str, Job]]) -> Iterator[InferRequest]:
        """The messages of the first request in line that is wanted."""
        while line:
            key, job = line.popleft()
            if not self._is_wanted(key):
                continue
            messages = split(job, key)
            try:
                first = next(messages)
            except (TypeError, ValueError) as error:
                self._refuse(key, error)
                continue
            return chain((first,), messages)
        return iter(())
