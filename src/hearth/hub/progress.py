"""How downloads, and other long work, tell how far they are."""

from typing import Literal, Protocol

Unit = Literal["steps", "bytes"]
"""Unit of what is counted: anything, or the bytes of a file that comes over the network."""


class Progress(Protocol):
    """Callback that hears how far a piece of work is; from any thread.

    ``total`` is None where it isn't known. An exception that it raises ends the work: the way
    to stop a download, whose bytes so far are kept for the next try.
    """

    def __call__(
        self, what: str, done: int, total: int | None, unit: Unit = "steps", /
    ) -> None: ...


def no_progress(what: str, done: int, total: int | None, unit: Unit = "steps") -> None:
    """Show nothing: the progress of callers that don't show any."""
