"""Requests that come in several messages, and those that can't be put together."""

from typing import NamedTuple

from hearth.errors import HearthError, InvalidInput
from hearth.tasks.task import Request

ENTRY_COST = 200
"""Bytes that an entry of meta takes beside its characters."""

CHUNK_COST = 1024
"""Bytes that every message takes, however short it is: two Python objects a field. They are
counted for chunks; of whole requests there are few enough."""


def make_request(
    correlation_id: str, task: str, payload: bytes, mime: str, meta: dict[str, str]
) -> Request:
    """Make a request; its size counts what it has beside the payload, where that is much."""
    overhead = len(correlation_id) + len(task) + len(mime)
    if meta:
        overhead += sum([len(key) + len(value) + ENTRY_COST for key, value in meta.items()])
    size = len(payload) + (overhead if overhead > CHUNK_COST else 0)
    return Request(task, payload, mime, meta, correlation_id, size)


class RejectedRequest(NamedTuple):
    """A request that can't be put together."""

    correlation_id: str
    error: HearthError
    task: str = ""
    """Name of its task, where it is known."""


Incoming = Request | RejectedRequest


class Chunk(NamedTuple):
    """One message of several, its fields read once: protobuf copies the payload at every look."""

    whole: Request
    """The message as a request of its own."""
    offset: int

    @property
    def size(self) -> int:
        """Bytes of its payload."""
        return len(self.whole.data)

    @property
    def end(self) -> int:
        return self.offset + self.size


class ChunkedRequest:
    """A request some of whose chunks are still to come."""

    def __init__(self, correlation_id: str, total: int) -> None:
        self.correlation_id = correlation_id
        self.total = total
        self.chunks: dict[int, Chunk] = {}
        self.seen = 0
        """Messages that were read for this request, repetitions aside."""
        self.task = ""
        self.size = 0
        self.overhead = 0
        self.fresh = True
        """Whether a chunk came since the stream was last looked through for stalled requests."""
        self._seqs: set[int] = set()
        self.error: HearthError | None = None

    @property
    def held(self) -> bool:
        """Whether only the first message is here: it may be a whole request of a batch."""
        return self.seen == 1 and 0 in self.chunks

    def fits(self, seq: int, chunk: Chunk) -> bool:
        """Tell whether the chunk continues what is here: equal ids may be open at once."""
        before, after = self.chunks.get(seq - 1), self.chunks.get(seq + 1)
        if before is not None:
            return before.end == chunk.offset
        return after is not None and chunk.end == after.offset

    @property
    def weight(self) -> int:
        """Bytes that are held for this request."""
        return self.size + self.overhead

    def add(self, seq: int, chunk: Chunk) -> None:
        """Take a chunk, or note what is wrong with it."""
        self.fresh = True
        if seq in self._seqs:
            self.fail(InvalidInput(f"chunk {seq} came twice"))
            return
        self.seen += 1
        if seq >= self.total:
            self.fail(InvalidInput(f"chunk {seq} of {self.total}"))
            return
        self._seqs.add(seq)
        self.task = self.task or chunk.whole.task
        if self.error is None:
            self.chunks[seq] = chunk
            self.size += chunk.size
            self.overhead += chunk.whole.size - chunk.size + CHUNK_COST

    def fail(self, error: HearthError) -> None:
        """Drop the bytes, and keep count of the chunks that are still to be swallowed."""
        self.error = self.error or error
        self.chunks.clear()
        self.size = self.overhead = 0

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
            end = chunk.end
        if self.error is not None:
            return RejectedRequest(self.correlation_id, self.error, self.task)
        parts = [self.chunks[seq].whole for seq in range(self.total)]
        meta: dict[str, str] = {}
        for part in reversed(parts):
            meta.update(part.meta)
        payload = b"".join(part.data for part in parts)
        return make_request(self.correlation_id, parts[0].task, payload, parts[0].mime, meta)
