"""The one table from exceptions to the codes of the contract."""

from typing import NamedTuple

import grpc

from hearth import errors
from hearth.contract import ml_service_pb2 as pb


class Code(NamedTuple):
    """How an error is told: as the status of the RPC, or in-band."""

    status: grpc.StatusCode
    in_band: pb.ErrorCode.ValueType


INTERNAL = Code(grpc.StatusCode.INTERNAL, pb.ERROR_CODE_INTERNAL)

# The first class that fits decides: a child stands before its parent.
TABLE: tuple[tuple[type[errors.HearthError], Code], ...] = (
    (errors.UnknownTask, Code(grpc.StatusCode.NOT_FOUND, pb.ERROR_CODE_INVALID_ARGUMENT)),
    (errors.InvalidInput, Code(grpc.StatusCode.INVALID_ARGUMENT, pb.ERROR_CODE_INVALID_ARGUMENT)),
    (errors.Overloaded, Code(grpc.StatusCode.RESOURCE_EXHAUSTED, pb.ERROR_CODE_UNAVAILABLE)),
    (errors.Unavailable, Code(grpc.StatusCode.UNAVAILABLE, pb.ERROR_CODE_UNAVAILABLE)),
    (
        errors.DeadlinePassed,
        Code(grpc.StatusCode.DEADLINE_EXCEEDED, pb.ERROR_CODE_DEADLINE_EXCEEDED),
    ),
    (errors.ModelFailed, INTERNAL),
)


def code_of(error: Exception) -> Code:
    """The codes of an error; what isn't ours is INTERNAL."""
    return next((code for kind, code in TABLE if isinstance(error, kind)), INTERNAL)
