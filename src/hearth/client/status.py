"""gRPC's statuses in plain words."""

import re

import grpc.aio

from hearth.client.messages import Failure
from hearth.errors import DeadlinePassed, HearthError, InvalidInput, Unavailable

_ERRORS: dict[str, type[HearthError]] = {
    "INVALID_ARGUMENT": InvalidInput,
    "NOT_FOUND": InvalidInput,
    "UNIMPLEMENTED": Unavailable,
    "UNAVAILABLE": Unavailable,
    "RESOURCE_EXHAUSTED": Unavailable,
    "DEADLINE_EXCEEDED": DeadlinePassed,
}

# "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.9:50051: Failed to
#  connect to remote host: connect: Connection refused (111)" holds one useful part.
_CONNECT = re.compile(r"failed to connect to (?:all addresses|remote host)", re.IGNORECASE)
_CAUSE = re.compile(r"(?:connect: )?([A-Z][a-z ]+?)(?: \(\d+\))?$")


def failure_of(error: grpc.aio.AioRpcError) -> Failure:
    """What a status that ended a call means for the requests on it."""
    code, details = error.code().name, error.details() or ""
    if code == "DEADLINE_EXCEEDED":
        return Failure(code, "no answer in time")
    if code == "UNIMPLEMENTED":
        return Failure(code, "no hearth node answers there: it doesn't know the service")
    if _CONNECT.search(details):
        cause = _CAUSE.search(details)
        return Failure(code, "can't connect" + (f": {cause[1].lower()}" if cause else ""), details)
    return Failure(code, details or "the call failed without a reason")


def exception_of(target: str, error: grpc.aio.AioRpcError) -> HearthError:
    """The exception for a call to ``target`` that failed as a whole; one line."""
    failure = failure_of(error)
    return _ERRORS.get(failure.code, HearthError)(f"{target}: {failure.message}")
