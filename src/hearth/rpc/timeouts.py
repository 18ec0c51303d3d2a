"""Times that a stream waits for its client; for models it waits as ``serving.readiness`` says."""

from typing import NamedTuple


class StreamTimeouts(NamedTuple):
    """Seconds; what isn't the client's doing doesn't count."""

    company: float = 0.1
    """The first failure of a stream waits for so long to learn whether the stream carries one
    request (status) or several (in-band); see the contract's section on errors."""

    chunk: float = 60.0
    """Seconds for the next chunk of a request; it fails after at most twice as long."""

    reader: float = 30.0
    """Seconds for a client to take an answer; the stream ends after at most twice as long."""

    parts: float = 300.0
    """Seconds for a client to take a part of an answer that has more to come, likewise: it may read
    as slowly as one a second, and takes nothing here while its own buffers (64 KiB and more, some
    hundred small parts) are full."""


STREAM_TIMEOUTS = StreamTimeouts()
