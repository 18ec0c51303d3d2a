"""Requests as messages, the order in which these are written, and answers out of their messages.

The contract's rules for what is cut: chunks of one request or answer share the correlation id and
``total``, ``seq`` counts from 0, ``offset`` is the number of bytes before the chunk.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from hearth.client.messages import Failure, Job, Outcome, pushback
from hearth.contract.ml_service_pb2 import ErrorCode, InferRequest, InferResponse

WHOLE_LIMIT = 1 << 20
"""Bytes: a larger payload is cut, so that no message nears the 4 MiB of default servers."""
CHUNK_SIZE = 512 << 10
"""Bytes, as the clients of the field cut."""
SHORT = 64 << 10
"""Bytes of a payload: what is no longer doesn't wait behind pictures."""
ENTRY = "entry"
"""Key of meta that says which entry of a composed request is answered."""
DELTA = "_delta_"
"""Mark in the name of a schema whose JSON is only what is new in an answer."""
MAX_RESULT = 1 << 30
"""Bytes of one answer that a client is willing to hold."""


def whole(job: Job, correlation_id: str) -> InferRequest:
    """Make the only message of a job; raises TypeError and ValueError for what can't be sent."""
    return InferRequest(
        correlation_id=correlation_id,
        task=job.task,
        payload=job.payload,
        payload_mime=job.mime,
        meta=job.meta or None,
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


class Assembly:
    """The answer to one job, as its messages arrive."""

    __slots__ = ("_held", "_parts", "_pieces", "job")

    def __init__(self, job: Job) -> None:
        self.job = job
        """Job without its payload."""
        self._pieces: list[InferResponse] = []
        self._parts: dict[str, Outcome] = {}
        self._held = 0

    def add(self, message: InferResponse) -> Outcome | None:
        """Take a message; the outcome once it was the last one, or the node broke a rule.

        Entries of a composed request are its parts, and so are several whole answers, by their
        number from 0. Deltas are dropped: the last message is the complete result.
        """
        part = self.add_part(message)
        if part is None:
            return None
        entry = (part.meta if part.error is None else message.meta).get(ENTRY)
        if entry is None:
            if part.error is not None or (message.is_final and not self._parts):
                return part
            if DELTA in message.result_schema:
                self._held = 0
                return None
            entry = str(len(self._parts))
        self._parts[entry] = part
        return Outcome(self.job, parts=self._parts) if message.is_final else None

    def add_part(self, message: InferResponse) -> Outcome | None:
        """Take a message; the part of the answer that it completes, if it does."""
        is_final = message.is_final
        if not is_final:  # of the only message gRPC has bounded the size
            self._held += message.ByteSize()
            if self._held > MAX_RESULT:
                return self._broken(f"an answer of more than {MAX_RESULT >> 20} MiB")
        if message.HasField("error"):
            self._pieces = []
            return Outcome(self.job, meta=dict(message.meta), error=_failure(message))
        if message.total <= 1 and not self._pieces:
            return self._joined(message, message.result)
        self._pieces.append(message)
        if not is_final and len(self._pieces) < max(1, message.total):
            return None
        part, self._pieces = self._join(), []
        return part

    def forget(self) -> None:
        """Count no longer what was handed on."""
        self._held = 0

    def _join(self) -> Outcome:
        pieces = sorted(self._pieces, key=lambda piece: piece.seq)
        total = max(1, pieces[-1].total)
        offset = 0
        for seq, piece in enumerate(pieces):
            if max(1, piece.total) != total or piece.seq != seq:
                return self._broken(f"an answer with the wrong chunks (chunk {seq} of {total})")
            if piece.offset != offset:
                return self._broken(f"chunk {seq} at byte {piece.offset}, not at {offset}")
            offset += len(piece.result)
        if len(pieces) != total:
            return self._broken(f"{len(pieces)} of {total} chunks")
        return self._joined(self._pieces[-1], b"".join(piece.result for piece in pieces))

    def _joined(self, last: InferResponse, body: bytes) -> Outcome:
        meta = last.meta
        # Half of dict(meta)'s time, which asks for its keys in Python.
        copied = {key: meta[key] for key in meta}
        return Outcome(self.job, body, last.result_mime, last.result_schema, copied)

    def _broken(self, what: str) -> Outcome:
        return Outcome(self.job, error=Failure("INTERNAL", f"the node sent {what}"))


def _failure(message: InferResponse) -> Failure:
    error = message.error
    try:
        code = ErrorCode.Name(error.code).removeprefix("ERROR_CODE_")
    except ValueError:  # a code of a later contract
        code = str(error.code)
    code = "UNKNOWN" if code == "UNSPECIFIED" else code
    return Failure(code, error.message, error.detail, pushback(message.meta.items()))
