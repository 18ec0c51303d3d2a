"""The one table from exceptions to the codes of every door."""

import asyncio
import logging
from collections.abc import Mapping
from typing import NamedTuple

from hearth import errors

log = logging.getLogger(__name__)

# What a status may carry of a message: clients put whatever they like into names and
# options, and HTTP/2 headers that are too long break the call.
LONGEST_MESSAGE = 400

PUSHBACK = "grpc-retry-pushback-ms"
"""Time after which to try again: gRPC's own name in a status's trailers, and ours in an answer's
meta."""

OK = "OK"
CANCELLED = "CANCELLED"
"""The client has left before the answer was there, or has called its request off."""

DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"


class Code(NamedTuple):
    """Codes that tell an error, a column for each kind of door."""

    grpc: str
    """Name of the gRPC status, as ``NOT_FOUND``; also what the metrics count by."""
    in_band: str
    """Name of the contract's error code, without its prefix."""
    http: int
    """HTTP's number."""


INTERNAL = Code("INTERNAL", "INTERNAL", 500)

# The first class that fits decides: a child stands before its parent.
TABLE: tuple[tuple[type[errors.HearthError], Code], ...] = (
    (errors.UnknownTask, Code("NOT_FOUND", "INVALID_ARGUMENT", 404)),
    (errors.InvalidInput, Code("INVALID_ARGUMENT", "INVALID_ARGUMENT", 400)),
    (errors.Overloaded, Code("RESOURCE_EXHAUSTED", "UNAVAILABLE", 429)),
    (errors.Unavailable, Code("UNAVAILABLE", "UNAVAILABLE", 503)),
    (errors.DeadlinePassed, Code(DEADLINE_EXCEEDED, DEADLINE_EXCEEDED, 504)),
    (errors.RequestCancelled, Code(CANCELLED, DEADLINE_EXCEEDED, 499)),
    (errors.ModelFailed, INTERNAL),
)


def code_of(error: BaseException) -> Code:
    """Look an error up; what isn't ours is INTERNAL."""
    return next((code for kind, code in TABLE if isinstance(error, kind)), INTERNAL)


def is_the_end(error: BaseException) -> bool:
    """Tell whether a request ends with its stream, or with the process, and needs no answer."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        # Else it is somebody else's cancellation, which came here instead of an answer.
        return task is None or task.cancelling() > 0
    return isinstance(error, GeneratorExit | KeyboardInterrupt | SystemExit)


class Status(NamedTuple):
    """A failure as it is told to a client."""

    code: Code
    message: str
    meta: Mapping[str, str]
    """A status's trailers, or an in-band error's meta."""


def status_of(error: BaseException) -> Status:
    """Put an error into words for its client; what isn't ours is only told to the log."""
    message = errors.one_line(error, LONGEST_MESSAGE)
    if not isinstance(error, errors.HearthError):
        log.error("a request failed in a way that nobody foresaw", exc_info=error)
        message = "the node failed; its log says why"
    meta = {}
    if isinstance(error, errors.Overloaded):
        meta[PUSHBACK] = str(round(error.retry_after * 1000))
    return Status(code_of(error), message, meta)
