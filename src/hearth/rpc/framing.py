"""Messages to requests: the framing rules of the contract.

Pure code: it knows the messages' fields and nothing of gRPC. One Assembler serves
one stream. Clients of the field have three habits, and the Assembler tells them apart:

1. one message with ``total`` ≤ 1: a whole request;
2. chunks: ``seq`` 0…n-1, ``total`` n, cumulative ``offset``, one correlation id;
3. batches of whole requests: ``seq`` is the index in the batch, ``total`` the batch's
   size, ``offset`` always 0.

A first message with ``total`` > 1 can be either 2 or 3; it is held until a message
with the same correlation id and ``offset`` > 0 (habit 2) or one with ``seq`` > 0,
``offset`` 0 and the same ``total`` (habit 3) decides.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Protocol

from hearth.errors import InvalidInput, RequestCancelled
from hearth.rpc.chunked_request import (
    Chunk,
    ChunkedRequest,
    Incoming,
    RejectedRequest,
    make_request,
)
from hearth.serving.admission import StreamBudget
from hearth.tasks.task import Request

LARGEST_OVERHEAD = 256 * 1024
"""Bytes of a message beside its payload: meta, names, ids."""

MOST_META = 256
"""Entries of a message's meta: far more than there are options."""


MOST_OPEN = 1024
"""Unfinished requests of one stream: more than any client needs."""


class Message(Protocol):
    """The fields of an InferRequest that framing looks at."""

    @property
    def correlation_id(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def payload(self) -> bytes: ...
    @property
    def payload_mime(self) -> str: ...
    @property
    def meta(self) -> Mapping[str, str]: ...
    @property
    def seq(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def offset(self) -> int: ...


class Assembler:
    """Puts the requests of one stream together; what is incomplete counts to its ``budget``.

    ``largest_request`` and ``largest_held`` are bytes: of one request, and of all
    requests of the stream that are still incomplete; ``most_open`` is how many of these
    there may be.
    """

    def __init__(
        self,
        budget: StreamBudget,
        *,
        largest_request: int,
        largest_held: int,
        most_open: int = MOST_OPEN,
    ) -> None:
        self.begun = 0
        """Number of requests that the stream has carried so far, complete or not."""
        self._budget = budget
        self._largest_request = largest_request
        self._largest_held = largest_held
        self._most_open = most_open
        # Equal ids may be open at once: the eldest first.
        self._open: dict[tuple[str, int], list[ChunkedRequest]] = {}
        self.open_count = 0
        """Number of requests that are incomplete."""

    def feed(self, message: Message) -> Sequence[Incoming]:
        """Give the requests that this message completes or breaks."""
        total = message.total
        if total > 1:
            if message.seq == 0 or message.offset != 0:
                return self._chunk(message)
            released = tuple(self._release(total))
        else:
            released = ()
        self.begun += 1
        return (*released, self._checked(_read(message)))

    def stalled(self) -> list[RejectedRequest]:
        """Drop the requests that have got no chunk since the last call."""
        requests = [request for requests in self._open.values() for request in requests]
        stalled = [request for request in requests if not request.fresh]
        for request in requests:
            request.fresh = False
        error = InvalidInput("the rest of the request's chunks didn't come")
        for request in stalled:
            self._remove(request)
        return [RejectedRequest(r.correlation_id, r.error or error, r.task) for r in stalled]

    def call_off(self, correlation_id: str) -> RejectedRequest:
        """Drop the eldest request of that correlation id whose chunks are still coming.

        Raises InvalidInput where there is none.
        """
        for (name, _), (eldest, *_) in self._open.items():
            if name == correlation_id:
                self._remove(eldest)
                return RejectedRequest(
                    name,
                    eldest.error or RequestCancelled("the client has called it off"),
                    eldest.task,
                )
        raise InvalidInput(
            f"target = {correlation_id!r}: no request of that correlation id is under way on this "
            "stream"
        )

    def finish(self) -> list[Incoming]:
        """Give up what is incomplete: the client has half-closed."""
        incomplete = [request for requests in self._open.values() for request in requests]
        self._open.clear()
        self.open_count = 0
        self._budget.hold(-self._budget.incomplete)
        return [request.finish() for request in incomplete]

    def _checked(self, whole: Request) -> Incoming:
        assert isinstance(whole.payload, bytes)  # as it came, just now
        size = len(whole.payload)
        if size > self._largest_request:
            return RejectedRequest(whole.correlation_id, self._too_large(), whole.task)
        if whole.size - size > LARGEST_OVERHEAD or len(whole.meta) > MOST_META:
            return RejectedRequest(whole.correlation_id, _too_much_meta(), whole.task)
        return whole

    def _release(self, total: int) -> Iterator[Incoming]:
        """Give held first messages of this batch size, which were whole requests after all."""
        held = [
            request
            for requests in self._open.values()
            for request in requests
            if request.held and request.total == total
        ]
        for request in held:
            self._remove(request)
            yield self._checked(request.chunks[0].whole)

    def _chunk(self, message: Message) -> Sequence[Incoming]:
        seq, whole = message.seq, _read(message)
        chunk = Chunk(whole, message.offset)
        request = self._request_of(whole.correlation_id, message.total, seq, chunk)
        if request is None:
            self.begun += 1
            error = InvalidInput(f"more than {self._most_open} unfinished requests on this stream")
            return (RejectedRequest(whole.correlation_id, error),)
        before = request.weight
        request.add(seq, chunk)
        more = request.weight - before
        if request.size > self._largest_request:
            request.fail(self._too_large())
        elif whole.size - chunk.size > LARGEST_OVERHEAD or len(whole.meta) > MOST_META:
            request.fail(_too_much_meta())
        elif self._budget.incomplete + more > self._largest_held:
            request.fail(InvalidInput("too many bytes in unfinished requests of this stream"))
        elif more > self._budget.spare_for_chunks:
            request.fail(self._budget.full())
        self._budget.hold(request.weight - before)
        if request.seen < request.total:
            return ()
        # A broken request is reported only now, when all of it was read: a client
        # that is still sending would see a send error instead of ours.
        self._remove(request)
        incoming = request.finish()
        return (self._checked(incoming) if isinstance(incoming, Request) else incoming,)

    def _request_of(
        self, correlation_id: str, total: int, seq: int, chunk: Chunk
    ) -> ChunkedRequest | None:
        """Find the request that the chunk belongs to, or begin one; None where there is no room."""
        candidates = self._open.get((correlation_id, total), [])
        if seq == 0:
            # A first message joins chunks that came ahead of it; beside another first
            # message it begins a request of its own.
            candidates = [r for r in candidates if 0 not in r.chunks and r.error is None]
        for fitting in (
            (r for r in candidates if r.fits(seq, chunk)),
            (r for r in candidates if seq not in r.chunks),
            candidates,
        ):
            if (request := next(iter(fitting), None)) is not None:
                return request
        if self.open_count >= self._most_open:
            return None
        self.begun += 1
        self.open_count += 1
        request = ChunkedRequest(correlation_id, total)
        self._open.setdefault((correlation_id, total), []).append(request)
        return request

    def _remove(self, request: ChunkedRequest) -> None:
        key = request.correlation_id, request.total
        self._open[key].remove(request)
        if not self._open[key]:
            del self._open[key]
        self.open_count -= 1
        self._budget.hold(-request.weight)

    def _too_large(self) -> InvalidInput:
        return InvalidInput(
            f"the payload is larger than {self._largest_request} bytes (the node's max_payload_mb)"
        )


def _read(message: Message) -> Request:
    """Make a request of a message; of too much meta as much as tells it."""
    entries = message.meta
    meta: dict[str, str] = {}
    if entries:
        meta.update(islice(entries.items(), MOST_META + 1))
    return make_request(
        message.correlation_id, message.task, message.payload, message.payload_mime, meta
    )


def _too_much_meta() -> InvalidInput:
    return InvalidInput(
        f"meta and names of a message are more than {MOST_META} entries "
        f"or longer than {LARGEST_OVERHEAD}"
    )
