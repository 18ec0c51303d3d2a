"""One process at a time: who changes a repository's folder holds its lock."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def repository_lock(path: Path, others_first: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of this path, over all processes and threads.

    ``others_first`` is called at once where another holds it, and then every second: it may
    raise, which ends the waiting. Raises OSError where the lock can't be made.
    """
    import filelock

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    timeout = 0.0
    while True:
        try:
            lock.acquire(timeout=timeout, poll_interval=0.1)
            break
        except filelock.Timeout:
            others_first()
            timeout = 1.0
    try:
        yield
    finally:
        lock.release()
