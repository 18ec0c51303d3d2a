"""What goes to a node and what comes back, as a caller sees it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from hearth.catalog import JSON


@dataclass(frozen=True, slots=True)
class Job:
    """One request: a task and what it is done to."""

    task: str
    payload: bytes
    mime: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)
    """Options of the task; keys and values are strings."""
    tag: Any = None
    """The caller's own; it comes back with the outcome and isn't sent."""

    def bare(self) -> "Job":
        """The same without its payload, which outlives it in no outcome."""
        return Job(self.task, b"", self.mime, self.meta, self.tag)


PUSHBACK = "grpc-retry-pushback-ms"
"""gRPC's own name, in a status's trailers, and hearth's in an answer's meta."""


MOST_PUSHBACK = 300.0
"""Seconds that we leave a node alone, whatever it says."""
LONGEST_NUMBER = 12


def pushback(told: Iterable[Any]) -> float | None:
    """Seconds after which the node wants to be asked again, of names and values; else None."""
    text = next((str(value) for name, value in told if name == PUSHBACK), "")
    if text.startswith("-"):
        return MOST_PUSHBACK  # of gRPC: not to be asked again
    if not text.isdecimal():
        return None
    return min(MOST_PUSHBACK, int(text[:LONGEST_NUMBER]) / 1000)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job has no answer."""

    code: str
    """A name of a gRPC status (``INVALID_ARGUMENT``, ``UNAVAILABLE``, …)."""
    message: str
    detail: str = ""
    retry_after: float | None = None
    """Seconds after which the node wants to be asked again, where it says so."""

    def __str__(self) -> str:
        return f"{self.message} ({self.code})" if self.message else self.code


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one job: an answer, or ``error``."""

    job: Job
    """Without its payload."""
    body: bytes = b""
    mime: str = ""
    """As the node wrote it, such as ``application/json;schema=labels_v1``."""
    schema: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)
    error: Failure | None = None
    parts: "Mapping[str, Outcome]" = field(default_factory=dict)
    """Of the task ``compose``: what became of each entry, by its id, in the order in which
    they came; there is no other body then."""

    @property
    def is_json(self) -> bool:
        """Whether the body is JSON."""
        return self.mime.partition(";")[0].strip().lower() == JSON

    def json(self) -> Any:
        """The body as JSON; raises ValueError where it isn't."""
        return orjson.loads(self.body)
