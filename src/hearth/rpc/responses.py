"""Results and failures to the messages that carry them: one where it fits, chunks otherwise."""

from collections.abc import Iterable

from hearth.contract import ml_service_pb2 as pb
from hearth.serving.status import Status, status_of
from hearth.tasks.answer import Part, Result

# Clients receive at most 4 MiB a message; the rest of the message needs some room too.
LARGEST_SINGLE = 4 * 1024 * 1024 - 64 * 1024
CHUNK = 1024 * 1024

IN_BAND = {name.removeprefix("ERROR_CODE_"): code for name, code in pb.ErrorCode.items()}
"""The contract's error codes by name."""


Answer = tuple[Iterable[pb.InferResponse], int]
"""Messages of an answer, and how many bytes they have, near enough."""


def responses(
    correlation_id: str, result: Result, *, final: bool = True
) -> Iterable[pb.InferResponse]:
    """Write a result as messages; ``final`` unless others of its request follow."""
    body, mime, schema, meta = result
    if len(body) <= LARGEST_SINGLE:
        response = pb.InferResponse(
            correlation_id=correlation_id,
            is_final=final,
            result=body,
            total=1,
            result_mime=mime,
            result_schema=schema,
        )
        # As an argument above it would take protobuf four times as long.
        for key, value in meta.items():
            response.meta[key] = value
        return (response,)
    total = -(-len(body) // CHUNK)
    return (
        pb.InferResponse(
            correlation_id=correlation_id,
            is_final=final and seq == total - 1,
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


def failure(
    correlation_id: str, status: Status, *, final: bool = True
) -> Iterable[pb.InferResponse]:
    """Write an error as a message without a result; ``final`` unless others follow."""
    return (
        pb.InferResponse(
            correlation_id=correlation_id,
            is_final=final,
            meta=status.meta,
            total=1,
            error=pb.Error(
                code=IN_BAND[status.code.in_band],
                message=status.message,
                detail=status.code.grpc,
            ),
        ),
    )


def part_responses(correlation_id: str, part: Part) -> Answer:
    """Write a part of an answer as messages."""
    if part.result is not None:
        result = part.result._replace(meta={**part.result.meta, **part.meta})
        size = len(correlation_id) + len(result.body)
        return responses(correlation_id, result, final=part.is_last), size
    status = status_of(part.error or AssertionError("a part without an answer"))
    status = status._replace(meta={**status.meta, **part.meta})
    size = len(correlation_id) + len(status.message)
    return failure(correlation_id, status, final=part.is_last), size
