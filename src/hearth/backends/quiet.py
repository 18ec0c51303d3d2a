"""Other people's packages, kept from talking where nobody asked."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quietly() -> Iterator[None]:
    """No warnings, and of the root logger errors alone.

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
