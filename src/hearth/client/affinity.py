"""The model that the answers of one map belong to."""

from collections.abc import Hashable, Iterable

from hearth.client.capabilities import Skills
from hearth.client.messages import MODEL, Outcome


class ModelAffinity:
    """Keeps the answers of several requests to one model: that of the first answer.

    Until there is one, requests go to nodes that name the same models as the first that was
    chosen. ``model`` holds from the beginning. ``entries`` are the tasks that a composed request
    is made of: nodes that can do all of them go first. A node is known by a key of its own and
    judged by its ``Skills``.
    """

    def __init__(self, model: str | None = None, entries: Iterable[str] = ()) -> None:
        self.entries = frozenset(entries)
        self.requested = model
        """Model that was asked for; None where the first answer is to say."""
        self.model = model
        """Model of all answers; None before the first one has said."""
        self._advertised: frozenset[str] | None = None
        self._of: dict[str, str] = {}
        self._misfits: set[Hashable] = set()

    def allows(self, node: Hashable, skills: Skills, task: str) -> bool:
        """Tell whether a request may go to a node."""
        if node in self._misfits:
            return False
        models = skills.models.get(task, frozenset())
        if self.requested is not None:
            return self.requested in models
        if self._advertised is None or models == self._advertised:
            return True
        return self.model in models

    def suits(self, skills: Skills) -> bool:
        """Tell whether a node can do every entry."""
        return self.entries <= skills.tasks.keys()

    def choose(self, skills: Skills, task: str) -> None:
        """Note that a request goes to a node with these skills."""
        if self._advertised is None:
            self._advertised = skills.models.get(task, frozenset())

    def release(self) -> bool:
        """Let nodes with other models have their turn; False once there is an answer."""
        free = self.requested is None and self._advertised is not None and not self._of
        if free:
            self._advertised = None
        return free

    def accepts(self, outcome: Outcome, node: Hashable, skills: Skills) -> bool:
        """Tell whether an answer is of the right model; the first one says which that is."""
        models = _models_of(outcome)
        if not models and self.model is not None:
            # Of several models it may be any.
            return len(skills.models.get(outcome.job.task, ())) <= 1
        for key, model in models:
            if self._of.get(key, self.requested or model) != model:
                self._misfits.add(node)
                return False
        if models and not self._of:
            self.model = models[0][1]
            self._advertised = skills.models.get(outcome.job.task, frozenset())
        if models:
            self._of.update(models)
        return True


def _models_of(outcome: Outcome) -> list[tuple[str, str]]:
    """List the models of an answer, by entry (of ``compose``) and source (smart_classify's)."""
    if not outcome.parts and MODEL not in outcome.meta:
        return []
    return [
        (f"{entry} {part.meta.get('source', '')}", model)
        for entry, part in (outcome.parts or {"": outcome}).items()
        if part.error is None and (model := part.meta.get(MODEL))
    ]
