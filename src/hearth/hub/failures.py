"""Why the hub couldn't be used, in a few words that a user can act on."""

import errno
import os
import socket
import ssl

_OF_ERRNO = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EHOSTUNREACH: "no route to it",
    errno.ENETUNREACH: "no network",
}

_OF_STATUS = {
    401: "the hub denies access (401); check HF_TOKEN",
    403: "the hub denies access (403); check HF_TOKEN",
    429: "the hub asks to come back later (429)",
}

NONSENSE = (ValueError, KeyError, TypeError, AttributeError)
"""Errors of a page that is no hub's answer: the log-in page of a hotel, say."""


def of_answer(error: BaseException) -> str:
    """Return the reason in an HfHubHTTPError: the hub answered, but not with what was asked for."""
    from huggingface_hub import errors

    known = {
        errors.GatedRepoError: "its licence must be accepted on the hub first; then set HF_TOKEN",
        errors.RepositoryNotFoundError: "the hub has no such repository "
        "(if it is private, set HF_TOKEN)",
        errors.RevisionNotFoundError: "the repository has no such revision",
        errors.RemoteEntryNotFoundError: "the repository no longer has that file",
    }
    for kind, text in known.items():
        if isinstance(error, kind):
            return text
    status: int = error.response.status_code  # type: ignore[attr-defined]
    return _OF_STATUS.get(status, f"the hub answered {status}")


def of_connection(error: BaseException) -> str:
    """Return the reason in any other error: the hub, or what stands before it, didn't answer."""
    import httpx2

    if isinstance(error, TimeoutError | httpx2.TimeoutException):
        return "no answer in time"
    for cause in _causes(error):
        if (text := _of_cause(cause)) is not None:
            return text
    if isinstance(error, httpx2.RemoteProtocolError):
        return "the connection broke off"
    if isinstance(error, NONSENSE):
        return "what answers there is no model hub"
    return _first_line(error)


def _of_cause(cause: BaseException) -> str | None:
    if isinstance(cause, socket.gaierror):
        return "its name isn't known (no network, or no DNS)"
    if isinstance(cause, ssl.SSLError):
        return f"no trusted connection ({cause.reason or _first_line(cause)})"
    if isinstance(cause, OSError) and cause.errno is not None:
        return _OF_ERRNO.get(cause.errno) or os.strerror(cause.errno).lower()
    return None


def _causes(error: BaseException) -> list[BaseException]:
    """Return the error and what it was raised from, the innermost first."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    return chain[::-1]


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
