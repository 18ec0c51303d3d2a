"""Cutting large payloads into chunks, and putting chunked answers together.

The contract's rules: chunks of one request share the correlation id and
``total``, ``seq`` counts from 0, ``offset`` is the number of bytes before the
chunk. Nothing here knows gRPC calls, only messages.
"""

from collections.abc import Iterator

from hearth.client.messages import Failure, Job, Outcome, pushback
from hearth.contract.ml_service_pb2 import ErrorCode, InferRequest, InferResponse

WHOLE_LIMIT = 1 << 20
"""Bytes: a larger payload is cut, so that no message nears the 4 MiB of default servers."""
CHUNK_SIZE = 512 << 10
"""Bytes, as the clients of the field cut."""
ENTRY = "entry"
"""The key of meta that says which entry of a composed request is answered."""
LARGEST_RESULT = 1 << 30
"""Bytes of one answer that we are willing to hold."""


def split(job: Job, correlation_id: str) -> Iterator[InferRequest]:
    """The messages of one job: a single one, or chunks that all carry the meta."""
    size = len(job.payload)
    if size <= WHOLE_LIMIT:
        yield InferRequest(
            correlation_id=correlation_id,
            task=job.task,
            payload=job.payload,
            payload_mime=job.mime,
            meta=job.meta,
        )
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


class Assembly:
    """The answer to one job, as its messages arrive."""

    __slots__ = ("_held", "_parts", "_pieces", "job")

    def __init__(self, job: Job) -> None:
        self.job = job
        self._pieces: list[InferResponse] = []
        self._parts: dict[str, Outcome] = {}
        self._held = 0

    def add(self, message: InferResponse) -> Outcome | None:
        """Take one message; the outcome once it was the last one, or the node broke a rule."""
        self._pieces.append(message)
        # Of the only message gRPC has bounded the size.
        self._held += 0 if message.is_final else message.ByteSize()
        if self._held > LARGEST_RESULT:
            return self._broken(f"an answer of more than {LARGEST_RESULT >> 20} MiB")
        entry = message.meta.get(ENTRY)
        if entry is None:
            is_whole = message.is_final or message.HasField("error")
            return self._whole() if is_whole else None
        if message.HasField("error") or len(self._pieces) >= max(1, message.total):
            self._parts[entry] = self._whole()
            self._pieces = []
        if not message.is_final:
            return None
        if self._pieces:
            return self._broken(f"an incomplete answer of the entry {entry!r}")
        return Outcome(self.job, parts=self._parts)

    def _whole(self) -> Outcome:
        """What the pieces come to."""
        last = self._pieces[-1]
        if last.HasField("error"):
            return Outcome(self.job, meta=dict(last.meta), error=_failure(last))
        return self._join()

    def _join(self) -> Outcome:
        if len(self._pieces) == 1 and self._pieces[0].total <= 1:
            return self._joined(self._pieces[0].result)
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
        return self._joined(b"".join(piece.result for piece in pieces))

    def _joined(self, body: bytes) -> Outcome:
        last = self._pieces[-1]
        return Outcome(
            self.job,
            body=body,
            mime=last.result_mime,
            schema=last.result_schema,
            meta=dict(last.meta),
        )

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
