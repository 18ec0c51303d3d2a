"""Answers, as a client gives them back for a source."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from hearth.client.messages import MODEL, Failure, Outcome
from hearth.client.status import error_of
from hearth.client.values import value_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The answer for a source, or ``error``."""

    input: Any
    """Source, as the caller named it."""
    index: int
    """Number of the source in a map, from 0."""
    node: str
    """Address (``HOST:PORT``) of the node that answered; empty where none did."""
    outcome: Outcome

    def __repr__(self) -> str:
        """Show it in short: sources and answers may be pictures."""
        what = self.error or self.mime or f"parts {', '.join(self.outcome.parts)}"
        return f"<Answer to {self.input!r:.60}: {what}>"

    @property
    def error(self) -> Failure | None:
        """Reason why there is no answer; None where there is one."""
        return self.outcome.error

    @property
    def value(self) -> Any:
        """Value as ``Embedding``, ``Labels``, ``Texts``, ``Faces``, else as JSON, or bytes.

        A composed answer's is a mapping of the entries' values. Raises the HearthError that
        ``error`` tells of, and ValueError for an answer that isn't what its schema says.
        """
        self.check()
        return value_of(self.outcome)

    def typed(self, kind: type[T]) -> T:
        """Return the value, which is to be a ``kind``; raises ValueError where it isn't."""
        value = self.value
        if not isinstance(value, kind):
            raise ValueError(f"{self.node} answered with {self.mime}, and no {kind.__name__}")
        return value

    @property
    def body(self) -> bytes:
        """Bytes of the answer, as the node sent them."""
        return self.outcome.body

    @property
    def mime(self) -> str:
        """Type of the bytes, such as ``application/json;schema=labels_v1``."""
        return self.outcome.mime

    @property
    def schema(self) -> str:
        """Name of the JSON's schema, such as ``labels_v1``; empty where there is none."""
        return self.outcome.schema

    @property
    def meta(self) -> Mapping[str, str]:
        """Facts that the node says beside it: times, dimensions, the model."""
        return self.outcome.meta

    @property
    def parts(self) -> "Mapping[str, Answer]":
        """Answers to the entries of a composed request, by their ids."""
        return {
            entry: Answer(self.input, self.index, self.node, part)
            for entry, part in self.outcome.parts.items()
        }

    @property
    def model_id(self) -> str:
        """Name of the model that answered; empty where the node doesn't say."""
        return self.outcome.meta.get(MODEL, "")

    def json(self) -> Any:
        """Return the answer's JSON; raises ValueError where it isn't, and as ``value``."""
        self.check()
        return self.outcome.json()

    def check(self) -> None:
        """Raise the HearthError that ``error`` tells of, if there is one."""
        if self.outcome.error is not None:
            raise error_of(self.outcome.error)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AnswerPart(Answer):
    """A part of an answer that comes bit by bit; ``index`` is its number, from 0."""

    is_last: bool
    """True of the last one: where the others were deltas, it is the complete answer."""
    entry: str
    """Id of the entry of a composed request that it answers; empty: the request itself."""
