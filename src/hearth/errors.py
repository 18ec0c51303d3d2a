"""The exceptions of the house.

Code below the doors raises these and never sees a status code; one table in
``serving/status.py`` maps them to the codes of the wire contract.

    HearthError
    ├── InvalidInput            the request is at fault: bytes, mime, option, framing
    │   └── UnknownTask         no task of that name
    ├── Unavailable             try again later, or elsewhere
    │   ├── NotReady            the model is downloading, loading, or failed; or the node drains
    │   └── Overloaded          a queue is full, or the memory
    ├── DeadlinePassed          the client's deadline passed before the work was done
    ├── RequestCancelled        the client has called the request off
    ├── ModelFailed             the model itself failed on good input
    │   └── OutOfMemory         the device has no room for a batch of this size
    └── SetupError              the node can't be set up as asked
        ├── SettingsError       a setting is unknown or wrong
        ├── BackendUnavailable  the engine or device asked for can't be had here
        └── ModelUnavailable    model files are missing, broken, or out of reach
"""

from typing import Any


class HearthError(Exception):
    """Base of all errors that hearth raises on purpose; the message is one clear line."""

    failure: Any = None
    """Failure as a client sees it: the node's words and code; None where no node said anything."""


class InvalidInput(HearthError):
    """The request is at fault: its bytes, mime, options or framing."""


class UnknownTask(InvalidInput):
    """No task of that name is served here."""


class Unavailable(HearthError):
    """The node can't do this now."""


class NotReady(Unavailable):
    """The model isn't ready (yet), or the node is draining."""


class Overloaded(Unavailable):
    """A bounded queue is full, or the memory; it is worth trying again after ``retry_after``
    seconds.
    """

    def __init__(self, message: str, retry_after: float = 0.25) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlinePassed(HearthError):
    """The deadline passed before the work was done."""


class RequestCancelled(HearthError):
    """The client has called the request off before the work was done."""


class ModelFailed(HearthError):
    """The model failed on input that looked right."""


class OutOfMemory(ModelFailed):
    """The device has no room for a batch of this size; a smaller one may fit."""


class SetupError(HearthError):
    """The node can't be set up as asked."""


class SettingsError(SetupError):
    """A setting is unknown or wrong."""


class BackendUnavailable(SetupError):
    """The engine, provider or device asked for can't be had on this machine."""


class ModelUnavailable(SetupError):
    """Model files are missing, broken, or out of reach."""


def how_to_install(extra: str) -> str:
    """Say how to install one of hearth's extras, for the end of a message.

    From its source: under the name ``hearth`` the package index has somebody else's package.
    """
    return f"pip install '.[{extra}]' in the folder of hearth's source"


def one_line(error: BaseException, longest: int = 300) -> str:
    """Put somebody else's error on one line of at most ``longest`` characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= longest else f"{text[:longest]}…"
