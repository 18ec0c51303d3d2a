"""Messages to requests, and results to messages: the framing rules of the contract.

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

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from hearth.contract import ml_service_pb2 as pb
from hearth.errors import InvalidInput

# Clients receive at most 4 MiB a message; the rest of the message needs some room too.
LARGEST_SINGLE = 4 * 1024 * 1024 - 64 * 1024
CHUNK = 1024 * 1024

# What an open request costs beside its bytes, so that many tiny ones are bounded too.
OVERHEAD = 256


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


class Whole(NamedTuple):
    """A request that is complete."""

    correlation_id: str
    task: str
    payload: bytes
    mime: str
    meta: dict[str, str]


class Broken(NamedTuple):
    """A request that can't be put together."""

    correlation_id: str
    error: InvalidInput


Incoming = Whole | Broken


class _Open:
    """A request some of whose chunks are still to come."""

    def __init__(self, correlation_id: str, total: int) -> None:
        self.correlation_id = correlation_id
        self.total = total
        self.chunks: dict[int, Message] = {}
        self.seen = 0
        self.size = 0
        self.error: InvalidInput | None = None

    @property
    def held(self) -> bool:
        """Only the first message is here: it may be a whole request of a batch."""
        return self.seen == 1 and 0 in self.chunks

    def fits(self, message: Message) -> bool:
        """Whether the chunk continues what is here: equal ids may be open at once."""
        before, after = self.chunks.get(message.seq - 1), self.chunks.get(message.seq + 1)
        if before is not None:
            return before.offset + len(before.payload) == message.offset
        return after is not None and message.offset + len(message.payload) == after.offset

    def fail(self, error: InvalidInput) -> None:
        """Drop the bytes, and keep count of the chunks that are still to be swallowed."""
        self.error = self.error or error
        self.chunks.clear()
        self.size = 0

    def finish(self) -> Incoming:
        """Put the chunks together, now that no more will come."""
        if self.error is None and len(self.chunks) < self.total:
            self.fail(
                InvalidInput(f"{self.total - len(self.chunks)} of {self.total} chunks are missing")
            )
        end = 0
        for seq in sorted(self.chunks):
            chunk = self.chunks[seq]
            if chunk.offset != end:
                self.fail(InvalidInput(f"chunk {seq} starts at {chunk.offset}, not at {end}"))
                break
            end += len(chunk.payload)
        if self.error is not None:
            return Broken(self.correlation_id, self.error)
        ordered = [self.chunks[seq] for seq in range(self.total)]
        meta: dict[str, str] = {}
        for chunk in reversed(ordered):
            meta.update(chunk.meta)
        first = ordered[0]
        payload = b"".join(chunk.payload for chunk in ordered)
        return Whole(self.correlation_id, first.task, payload, first.payload_mime, meta)


class Assembler:
    """Puts the requests of one stream together.

    ``largest_request`` and ``largest_held`` are bytes: of one request, and of all
    requests of the stream that are still incomplete.
    """

    def __init__(self, *, largest_request: int, largest_held: int) -> None:
        self.begun = 0
        """How many requests the stream has carried so far, complete or not."""
        self._largest_request = largest_request
        self._largest_held = largest_held
        self._open: list[_Open] = []

    def feed(self, message: Message) -> list[Incoming]:
        """The requests that this message completes or breaks."""
        if message.total <= 1:
            return [self._whole(message)]
        if message.offset == 0 and message.seq > 0:
            return [*self._release(message.total), self._whole(message)]
        return self._chunk(message)

    def finish(self) -> list[Incoming]:
        """The client has half-closed: what is incomplete stays so."""
        incomplete, self._open = self._open, []
        return [request.finish() for request in incomplete]

    def _whole(self, message: Message) -> Incoming:
        self.begun += 1
        return self._checked(message)

    def _checked(self, message: Message) -> Incoming:
        size = len(message.payload)
        if size > self._largest_request:
            return Broken(message.correlation_id, self._too_large())
        return Whole(
            message.correlation_id,
            message.task,
            message.payload,
            message.payload_mime,
            dict(message.meta),
        )

    def _release(self, total: int) -> Iterator[Incoming]:
        """Held first messages of this batch size were whole requests after all."""
        for request in [r for r in self._open if r.held and r.total == total]:
            self._open.remove(request)
            yield self._checked(request.chunks[0])

    def _chunk(self, message: Message) -> list[Incoming]:
        request = self._request_of(message)
        request.seen += 1
        if message.seq >= request.total:
            request.fail(InvalidInput(f"chunk {message.seq} of {request.total}"))
        elif message.seq in request.chunks:
            request.fail(InvalidInput(f"chunk {message.seq} came twice"))
        elif request.error is None:
            request.chunks[message.seq] = message
            request.size += len(message.payload)
        if request.size > self._largest_request:
            request.fail(self._too_large())
        elif sum(r.size + OVERHEAD for r in self._open) > self._largest_held:
            request.fail(InvalidInput("too many bytes in unfinished requests of this stream"))
        if request.seen < request.total:
            return []
        # A broken request is reported only now, when all of it was read: a client
        # that is still sending would see a send error instead of ours.
        self._open.remove(request)
        return [request.finish()]

    def _request_of(self, message: Message) -> _Open:
        candidates = [
            r
            for r in self._open
            if r.correlation_id == message.correlation_id and r.total == message.total
        ]
        if message.seq == 0:
            # A first message joins chunks that came ahead of it; beside another first
            # message it begins a request of its own.
            candidates = [r for r in candidates if 0 not in r.chunks and r.error is None]
        for fitting in (
            (r for r in candidates if r.fits(message)),
            (r for r in candidates if message.seq not in r.chunks),
            candidates,
        ):
            if (request := next(iter(fitting), None)) is not None:
                return request
        self.begun += 1
        request = _Open(message.correlation_id, message.total)
        self._open.append(request)
        return request

    def _too_large(self) -> InvalidInput:
        return InvalidInput(f"the payload is larger than {self._largest_request} bytes")


def responses(
    correlation_id: str, body: bytes, *, mime: str, schema: str, meta: Mapping[str, str]
) -> Iterable[pb.InferResponse]:
    """One result as the messages that carry it: one where it fits, chunks otherwise."""
    if len(body) <= LARGEST_SINGLE:
        return [
            pb.InferResponse(
                correlation_id=correlation_id,
                is_final=True,
                result=body,
                meta=meta,
                total=1,
                result_mime=mime,
                result_schema=schema,
            )
        ]
    total = -(-len(body) // CHUNK)
    return (
        pb.InferResponse(
            correlation_id=correlation_id,
            is_final=seq == total - 1,
            result=body[seq * CHUNK : (seq + 1) * CHUNK],
            meta=meta,
            seq=seq,
            total=total,
            offset=seq * CHUNK,
            result_mime=mime,
            result_schema=schema,
        )
        for seq in range(total)
    )


def failure(correlation_id: str, code: pb.ErrorCode.ValueType, message: str) -> pb.InferResponse:
    """An error in-band: final, and without a result."""
    return pb.InferResponse(
        correlation_id=correlation_id,
        is_final=True,
        total=1,
        error=pb.Error(code=code, message=message),
    )
