"""The model that the answers of one map belong to."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from hearth.client.messages import Outcome

if TYPE_CHECKING:
    from hearth.client.node_handle import NodeHandle

MODEL = "lumen.model.id"
"""The key of an answer's meta with the name of its model."""


class ModelAffinity:
    """Keeps the answers of several requests to one model: that of the first answer.

    Until there is one, requests go to nodes that name the same models as the first that was
    chosen. ``model`` pins from the beginning. ``entries`` are the tasks that a composed request
    is made of: nodes that can do all of them go first.
    """

    def __init__(self, model: str | None = None, entries: Iterable[str] = ()) -> None:
        self.entries = frozenset(entries)
        self.asked = model
        """As it was asked for; None where the first answer is to say."""
        self.model = model
        """The same, or as the first answer said."""
        self._advertised: frozenset[str] | None = None
        self._of: dict[str, str] = {}
        self._misfits: set[NodeHandle] = set()

    def allows(self, handle: "NodeHandle", task: str) -> bool:
        """Whether a request may go to this node."""
        if handle in self._misfits:
            return False
        models = frozenset(handle.skills.models.get(task, ()))
        if self.asked is not None:
            return self.asked in models
        if self._advertised is None or models == self._advertised:
            return True
        return self.model in models

    def suits(self, handle: "NodeHandle") -> bool:
        """Whether the node can do every entry."""
        return self.entries <= handle.skills.tasks.keys()

    def chose(self, handle: "NodeHandle", task: str) -> None:
        """A request goes to this node."""
        if self._advertised is None:
            self._advertised = frozenset(handle.skills.models.get(task, ()))

    def release(self) -> bool:
        """Let nodes with other models have their turn; False once there is an answer."""
        free = self.asked is None and self._advertised is not None and not self._of
        if free:
            self._advertised = None
        return free

    def takes(self, outcome: Outcome, handle: "NodeHandle") -> bool:
        """Whether the answer is of the right model; the first one says which that is."""
        models = dict(_models_of(outcome))
        if not models and self.model is not None:
            # Of several models it may be any.
            return len(handle.skills.models.get(outcome.job.task, ())) <= 1
        if any(self._of.get(key, self.asked or model) != model for key, model in models.items()):
            self._misfits.add(handle)
            return False
        if models and not self._of:
            self.model = next(iter(models.values()))
            self._advertised = frozenset(handle.skills.models.get(outcome.job.task, ()))
        self._of |= models
        return True


def _models_of(outcome: Outcome) -> Iterator[tuple[str, str]]:
    """The models behind an answer, by entry (of ``compose``) and source (of smart_classify)."""
    for entry, part in (outcome.parts or {"": outcome}).items():
        if part.error is None and (model := part.meta.get(MODEL)):
            yield f"{entry} {part.meta.get('source', '')}", model
