"""Keeping other people's packages from talking and from leaving things where nobody asked."""

import logging
import os
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_CACHE_LOCK = threading.Lock()


@contextmanager
def quietly() -> Iterator[None]:
    """Silence warnings within the block, and of the root logger all but errors.

    open_clip tells every step there, torch warns of its own future, and ONNX Runtime's
    converters advise, and warn of every number that they round.
    """

    def important(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    # A logger's own filter doesn't touch what other loggers hand up to it.
    root, handler = logging.getLogger(), logging.NullHandler()
    # Without any handler the first line logged would make one, for good.
    root.addHandler(handler)
    root.addFilter(important)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeFilter(important)
        root.removeHandler(handler)


@contextmanager
def no_compiler_cache() -> Iterator[None]:
    """Keep torch from making its compiler's folder in /tmp, which it does when it is imported, used
    or not.

    Whoever has set TORCHINDUCTOR_CACHE_DIR has chosen one. Models that load at once take turns:
    the environment is the whole process's.
    """
    variable = "TORCHINDUCTOR_CACHE_DIR"
    with _CACHE_LOCK:
        if variable in os.environ:
            yield
            return
        with tempfile.TemporaryDirectory(prefix="hearth-") as folder:
            os.environ[variable] = folder
            try:
                yield
            finally:
                os.environ.pop(variable, None)
