"""Forks: they take a client's threads away, and gRPC with them.

gRPC's core can't be begun again in a process forked from one where it worked. With 1.85 a new
channel of such a child never connects, or a failed check ends the process; whether all of the
parent's channels were closed makes no difference. A child of a parent without channels is free.
"""

import os


class _Process:
    """Facts about the running process that matter in forks."""

    def __init__(self) -> None:
        self.forks = 0
        """Forks between the process that imported this and ours."""
        self.grpc_since: int | None = None
        """Number of forks when gRPC began to work; None before that."""

    def forked(self) -> None:
        self.forks += 1


_process = _Process()
if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_process.forked)


def require_grpc() -> None:
    """Raise RuntimeError where gRPC can't work: it did before this process was forked."""
    if _process.grpc_since is not None and _process.grpc_since < _process.forks:
        raise RuntimeError(
            "a client was opened before a fork, and gRPC can't be used here for that: open one in "
            "each process, and none before, or start processes by 'spawn' or 'forkserver'"
        )


def begin_grpc() -> None:
    """Note that gRPC works here from now on; raises RuntimeError where it can't."""
    require_grpc()
    if _process.grpc_since is None:
        _process.grpc_since = _process.forks


class ForkGuard:
    """Tells whether what was opened with it belongs to this process."""

    def __init__(self) -> None:
        self._forks = _process.forks

    @property
    def forked(self) -> bool:
        """True where this process was forked since."""
        return self._forks != _process.forks

    def check(self) -> None:
        """Raise RuntimeError where this process was forked since."""
        if self.forked:
            raise RuntimeError(
                "this client was opened before a fork: open one in each process, and none before"
            )
