"""Jobs that go to a node and outcomes that come back, as a caller sees them."""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from hearth.catalog import JSON


@dataclass(frozen=True, slots=True)
class Job:
    """A request: a task and what it is done to."""

    task: str
    payload: bytes
    mime: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)
    """Options of the task, as texts by name."""
    tag: Any = None
    """Mark of the caller's own; it comes back with the outcome and isn't sent."""

    def bare(self) -> "Job":
        """Return the job without its payload, which no outcome keeps."""
        return Job(self.task, b"", self.mime, self.meta, self.tag)


MODEL = "lumen.model.id"
"""Key of an answer's meta with the name of its model."""
PUSHBACK = "grpc-retry-pushback-ms"
"""Key of the time until the next try: gRPC's own in a status's trailers, hearth's in meta."""
MAX_PUSHBACK = 300.0
"""Seconds for which a node is left alone at most, whatever it says."""
MAX_DIGITS = 12


def pushback(metadata: Iterable[Any]) -> float | None:
    """Return the seconds after which the node wants to be asked again, of names and values."""
    text = next((str(value) for name, value in metadata if name == PUSHBACK), "")
    if text.startswith("-"):
        return MAX_PUSHBACK  # of gRPC: not to be asked again
    if not text.isdecimal():
        return None
    return min(MAX_PUSHBACK, int(text[:MAX_DIGITS]) / 1000)


@dataclass(frozen=True, slots=True)
class Failure:
    """Reason why a job has no answer."""

    code: str
    """Name of a gRPC status (``INVALID_ARGUMENT``, ``UNAVAILABLE``, …)."""
    message: str
    detail: str = ""
    retry_after: float | None = None
    """Seconds after which the node wants to be asked again, where it says so."""

    def __str__(self) -> str:
        return f"{self.message} ({self.code})" if self.message else self.code


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to one job, or ``error``."""

    job: Job
    """Job without its payload."""
    body: bytes = b""
    mime: str = ""
    """Type of the body as the node wrote it, such as ``application/json;schema=labels_v1``."""
    schema: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)
    error: Failure | None = None
    parts: "Mapping[str, Outcome]" = field(default_factory=dict)
    """Outcomes of the entries of a composed request by id, or of several whole answers by number,
    in the order in which they came; there is no other body then."""

    @property
    def is_json(self) -> bool:
        """True of a body that is JSON."""
        return self.mime.partition(";")[0].strip().lower() == JSON

    def json(self) -> Any:
        """Return the body's JSON; raises ValueError where it isn't."""
        return orjson.loads(self.body)


def outcome_as_json(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome's ``result``, ``error`` and ``meta`` for a JSON encoder.

    ``result`` is the answer's own JSON, or ``{"mime", "base64"}`` of its bytes, or None where
    there is an error; of a composed request ``entries`` has what became of each, by its id.
    """
    entries = {entry: outcome_as_json(part) for entry, part in outcome.parts.items()}
    error = outcome.error
    return {
        "result": None if error is not None or entries else _result(outcome),
        "error": None if error is None else {"code": error.code, "message": error.message},
        "meta": dict(outcome.meta),
        **({"entries": entries} if entries else {}),
    }


def _result(outcome: Outcome) -> Any:
    if outcome.is_json:
        try:
            return outcome.json()
        except ValueError:
            pass  # shown as what it is: bytes
    return {"mime": outcome.mime, "base64": base64.b64encode(outcome.body).decode()}
