"""What a client gives back for one source."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from hearth.client.affinity import MODEL
from hearth.client.messages import Failure, Outcome
from hearth.client.status import error_of
from hearth.client.values import value_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What became of one source: an answer, or ``error``."""

    input: Any
    """The source, as it was given."""
    index: int
    """Its number in a map, from 0."""
    node: str
    """``HOST:PORT`` of the node that answered; empty where none did."""
    outcome: Outcome

    def __repr__(self) -> str:
        """Short: sources and answers may be pictures."""
        what = self.error or self.mime or f"parts {', '.join(self.outcome.parts)}"
        return f"<Answer to {self.input!r:.60}: {what}>"

    @property
    def error(self) -> Failure | None:
        """Why there is no answer; None where there is one."""
        return self.outcome.error

    @property
    def value(self) -> Any:
        """As ``Embedding``, ``Labels``, ``Texts``, ``Faces``, else as JSON, or bytes.

        Of ``compose`` a mapping of the entries' values. Raises the HearthError that
        ``error`` tells of, and ValueError for an answer that isn't what its schema says.
        """
        self.check()
        return value_of(self.outcome)

    def typed(self, kind: type[T]) -> T:
        """The value, which is to be a ``kind``; raises ValueError where it isn't."""
        value = self.value
        if not isinstance(value, kind):
            raise ValueError(f"{self.node} answered with {self.mime}, and no {kind.__name__}")
        return value

    @property
    def body(self) -> bytes:
        """The answer's bytes, as the node sent them."""
        return self.outcome.body

    @property
    def mime(self) -> str:
        """What they are, such as ``application/json;schema=labels_v1``."""
        return self.outcome.mime

    @property
    def schema(self) -> str:
        """Of JSON: its name, such as ``labels_v1``."""
        return self.outcome.schema

    @property
    def meta(self) -> Mapping[str, str]:
        """What the node says beside it: times, dimensions, the model."""
        return self.outcome.meta

    @property
    def parts(self) -> "Mapping[str, Answer]":
        """Of ``compose``: what became of each entry, by its id."""
        return {
            entry: Answer(self.input, self.index, self.node, part)
            for entry, part in self.outcome.parts.items()
        }

    @property
    def model_id(self) -> str:
        """The model that answered; empty where the node doesn't say."""
        return self.outcome.meta.get(MODEL, "")

    def json(self) -> Any:
        """The answer as JSON; raises ValueError where it isn't, and as ``value``."""
        self.check()
        return self.outcome.json()

    def check(self) -> None:
        """Raise the HearthError that ``error`` tells of, if there is one."""
        if self.outcome.error is not None:
            raise error_of(self.outcome.error)
