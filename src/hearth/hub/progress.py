"""How downloads, and other long work, tell how far they are."""

from collections.abc import Callable

Progress = Callable[[str, int, int | None], None]
"""``progress(what, done, total)``; total is None where it isn't known. Called from any thread.

An exception that it raises ends the work: the way to stop a download, whose bytes
so far are kept for the next try.
"""


def no_progress(what: str, done: int, total: int | None) -> None:
    """For callers that don't show any."""
