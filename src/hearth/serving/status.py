"""The one table from exceptions to the codes of the contract."""

import logging
from collections.abc import Mapping
from typing import NamedTuple

import grpc

from hearth import errors
from hearth.contract import ml_service_pb2 as pb

log = logging.getLogger(__name__)

# What a status may carry of a message: clients put whatever they like into names and
# options, and HTTP/2 headers that are too long break the call.
LONGEST_MESSAGE = 400

PUSHBACK = "grpc-retry-pushback-ms"
"""When to try again: gRPC's own name in a status's trailers, and ours in an answer's meta."""


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


def code_of(error: BaseException) -> Code:
    """The codes of an error; what isn't ours is INTERNAL."""
    return next((code for kind, code in TABLE if isinstance(error, kind)), INTERNAL)


class Status(NamedTuple):
    """What a client is told of a failure."""

    code: Code
    message: str
    meta: Mapping[str, str]
    """A status's trailers, or an in-band error's meta."""

    @property
    def name(self) -> str:
        """The gRPC status's name, as ``NOT_FOUND``."""
        return self.code.status.name


def status_of(error: BaseException) -> Status:
    """What a client is told of an error; what isn't ours is only told to the log."""
    message = errors.one_line(error, LONGEST_MESSAGE)
    if not isinstance(error, errors.HearthError):
        log.error("a request failed in a way that nobody foresaw", exc_info=error)
        message = "the node failed; its log says why"
    meta = {}
    if isinstance(error, errors.Overloaded):
        meta[PUSHBACK] = str(round(error.retry_after * 1000))
    return Status(code_of(error), message, meta)
