"""Answers put together from their messages: chunks, parts, and the end."""

from hearth.client.messages import Failure, Job, Outcome, pushback
from hearth.contract.ml_service_pb2 import ErrorCode, InferResponse

ENTRY = "entry"
"""Key of meta that says which entry of a composed request is answered."""
DELTA = "_delta_"
"""Mark in the name of a schema whose JSON is only what is new in an answer."""
MAX_RESULT = 1 << 30
"""Bytes of one answer that a client is willing to hold."""


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
        entry = message.meta.get(ENTRY)
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
        copied = {key: meta[key] for key in meta} if meta else {}
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
