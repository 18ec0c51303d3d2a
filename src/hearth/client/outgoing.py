"""Requests as messages, and the order in which the messages of one stream are written.

The contract's rules for what is cut: chunks of one request share the correlation id and
``total``, ``seq`` counts from 0, ``offset`` is the number of bytes before the chunk.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from hearth.client.messages import Job
from hearth.contract.ml_service_pb2 import InferRequest

WHOLE_LIMIT = 1 << 20
"""Bytes: a larger payload is cut, so that no message nears the 4 MiB of default servers."""
CHUNK_SIZE = 512 << 10
"""Bytes, as the clients of the field cut."""
SHORT = 64 << 10
"""Bytes of a payload: what is no longer doesn't wait behind pictures."""


def whole(job: Job, correlation_id: str) -> InferRequest:
    """Make the only message of a job; raises TypeError and ValueError for what can't be sent."""
    return InferRequest(
        correlation_id=correlation_id,
        task=job.task,
        payload=job.payload,
        payload_mime=job.mime,
        meta=job.meta,
    )


def split(job: Job, correlation_id: str) -> Iterator[InferRequest]:
    """Yield the messages of a job: a single one, or chunks that all carry the meta.

    Raises TypeError and ValueError for what can't be sent.
    """
    size = len(job.payload)
    if size <= WHOLE_LIMIT:
        yield whole(job, correlation_id)
        return
    total = -(-size // CHUNK_SIZE)
    for seq in range(total):
        offset = seq * CHUNK_SIZE
        yield InferRequest(
            correlation_id=correlation_id,
            task=job.task,
            payload=job.payload[offset : offset + CHUNK_SIZE],
            payload_mime=job.mime,
            meta=job.meta,
            seq=seq,
            total=total,
            offset=offset,
        )


class Outgoing:
    """Two lines of requests, the short and the long, that take turns message by message.

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
        self._is_chunks_turn = False
        self._finished = False
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, key: str, job: Job) -> None:
        """Add a request."""
        (self._short if len(job.payload) <= SHORT else self._long).append((key, job))
        self._wake()

    def finish(self) -> None:
        """Say that no more requests come."""
        self._finished = True
        self._wake()

    async def next(self) -> InferRequest | None:
        """Return the message whose turn it is, once there is one; None behind the last."""
        while True:
            if (message := self._take()) is not None:
                return message
            if self._finished:
                return None
            self._waiter = self._loop.create_future()
            await self._waiter

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _take(self) -> InferRequest | None:
        self._is_chunks_turn = not self._is_chunks_turn
        if self._is_chunks_turn:
            chunk = self._next_chunk()
            return chunk if chunk is not None else self._next_short()
        short = self._next_short()
        return short if short is not None else self._next_chunk()

    def _next_short(self) -> InferRequest | None:
        """Make the message of the first short request that is wanted."""
        while self._short:
            key, job = self._short.popleft()
            if self._is_wanted(key):
                try:
                    return whole(job, key)
                except (TypeError, ValueError) as error:
                    self._refuse(key, error)
        return None

    def _next_chunk(self) -> InferRequest | None:
        # Once begun, a request is sent to its end: the node waits for the rest.
        chunk = next(self._chunks, None)
        while chunk is None and self._long:
            key, job = self._long.popleft()
            if self._is_wanted(key):
                self._chunks = split(job, key)
                try:
                    chunk = next(self._chunks)
                except (TypeError, ValueError) as error:
                    self._refuse(key, error)
        return chunk
