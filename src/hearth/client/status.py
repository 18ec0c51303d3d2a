"""Statuses of gRPC in plain words."""

import re
from collections.abc import Coroutine
from typing import Any, TypeVar

import grpc.aio

from hearth.client.messages import Failure, pushback
from hearth.errors import (
    DeadlinePassed,
    HearthError,
    InvalidInput,
    ModelFailed,
    NotReady,
    Unavailable,
    UnknownTask,
)

T = TypeVar("T")

_ERRORS: dict[str, type[HearthError]] = {
    "INVALID_ARGUMENT": InvalidInput,
    "NOT_FOUND": UnknownTask,
    "UNIMPLEMENTED": Unavailable,
    "UNAVAILABLE": Unavailable,
    "RESOURCE_EXHAUSTED": Unavailable,
    # What ends a request whose nodes have gone away with it, again and again.
    "CANCELLED": Unavailable,
    "ABORTED": Unavailable,
    # Of the client: no request was made of the source.
    "UNREADABLE": InvalidInput,
    "DEADLINE_EXCEEDED": DeadlinePassed,
}

# "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.9:50051: Failed to
#  connect to remote host: connect: Connection refused (111)" holds one useful part.
_CONNECT = re.compile(r"failed to connect to (?:all addresses|remote host)", re.IGNORECASE)
# "errors resolving nosuch:50051: [field:hostname lookup error:…]", "DNS resolution failed …"
_RESOLVE = re.compile(r"errors resolving|name resolution|resolution failed", re.IGNORECASE)
_CAUSE = re.compile(r"(?:connect: )?([A-Z][a-z ]+?)(?: \(\d+\))?$")


NO_ANSWER = Failure("UNAVAILABLE", "the node ended the stream without an answer")

# What grpc.aio says of a write that failed because the stream had ended.
_FAILED_WRITE = "Internal error from Core"


class FirstStatus:
    """Status that a call got first.

    grpc.aio overwrites the status that a node sent when one of our writes fails after
    it (grpc/grpc#36066). A callback sees it before that; where the failed write comes
    first, the error that is raised in the end has it.
    """

    def __init__(self, call: "grpc.aio.Call") -> None:
        self._noted: tuple[str, str, float | None] | None = None
        call.add_done_callback(self._note)

    def failure(self, error: grpc.aio.AioRpcError) -> Failure:
        """Return what ended the call that raised ``error``."""
        if error.details() != _FAILED_WRITE:
            return failure_of(error)
        code, details, retry_after = self._noted or ("INTERNAL", _FAILED_WRITE, None)
        if code == "OK":
            return NO_ANSWER
        if details == _FAILED_WRITE:
            return Failure("UNAVAILABLE", "the stream broke")
        return _failure(code, details, retry_after)

    def _note(self, call: "grpc.aio.Call") -> None:
        retry_after = pushback(_now(call.trailing_metadata()) or ())
        self._noted = _now(call.code()).name, _now(call.details()) or "", retry_after


def _now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as result:
        value: T = result.value
        return value
    coroutine.close()
    raise RuntimeError("the call isn't done")


def failure_of(error: grpc.aio.AioRpcError) -> Failure:
    """Return what a status that ended a call means for the requests on it."""
    retry_after = pushback(error.trailing_metadata() or ())
    return _failure(error.code().name, error.details() or "", retry_after)


def _failure(code: str, details: str, retry_after: float | None) -> Failure:
    if code == "DEADLINE_EXCEEDED":
        return Failure(code, "no answer in time")
    if code == "UNIMPLEMENTED":
        return Failure(code, "no hearth node answers there: it doesn't know the service")
    if _RESOLVE.search(details):
        return Failure(code, "can't connect: no host of this name is known", details)
    if _CONNECT.search(details):
        cause = _CAUSE.search(details)
        return Failure(code, "can't connect" + (f": {cause[1].lower()}" if cause else ""), details)
    return Failure(code, details or "the call failed without a reason", retry_after=retry_after)


def reached(error: grpc.aio.AioRpcError) -> bool:
    """Tell whether the status came from the node, and not from our side of the wire."""
    details = error.details() or ""
    return not _CONNECT.search(details) and not _RESOLVE.search(details)


def error_of(failure: Failure) -> HearthError:
    """Make the exception that says what a failure says."""
    error = _ERRORS.get(failure.code, ModelFailed)(failure.message or failure.code)
    error.failure = failure
    return error


def exception_of(target: str, error: grpc.aio.AioRpcError) -> HearthError:
    """Make the exception for a call to ``target`` that failed as a whole; one line."""
    failure = failure_of(error)
    kind = _ERRORS.get(failure.code, HearthError)
    if failure.code == "UNAVAILABLE" and reached(error):
        kind = NotReady  # the node itself says so
    return kind(f"{target}: {failure.message}")
