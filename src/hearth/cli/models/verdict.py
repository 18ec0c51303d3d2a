"""One folder of model files, checked against what it should hold."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hearth.cli.models.inventory import Item, Kind, copy_in_words, read_about
from hearth.cli.models.remove import take_away
from hearth.errors import HearthError, ModelUnavailable

if TYPE_CHECKING:
    from hearth.cli.console import Text
    from hearth.hub.progress import Progress
    from hearth.hub.store import HubStore
    from hearth.models.packaged import Packaged


@dataclass(frozen=True)
class Verdict:
    """How one folder was found."""

    item: Item
    state: Literal["right", "wrong", "unchecked"]
    problems: list[str] = field(default_factory=list)
    note: str = ""
    """What else is to be known: why it wasn't checked, how to mend it."""

    def to_json(self) -> dict[str, Any]:
        """As a line of ``--json``."""
        return {
            **self.item.to_json(),
            "verdict": self.state,
            "problems": self.problems,
            "note": self.note or None,
        }

    def in_words(self) -> "Text":
        """For people."""
        from hearth.cli.console import Text

        mark, colour = {"right": ("✓", "green"), "wrong": ("✗", "red")}.get(
            self.state, ("–", "yellow")
        )
        text = Text(f"{mark} ", style=colour)
        text.append(f"{self.item.kind} {self.item.name}", style="default")
        for problem in self.problems:
            text.append(f"\n  {problem}", style="red")
        if self.note:
            text.append(f"\n  {self.note}", style="dim")
        return text


class Checker:
    """Checks what lies in a data folder."""

    def __init__(self, data_dir: Path, progress: "Progress") -> None:
        self._hub = _hub(data_dir)
        self._progress = progress

    def check(self, item: Item) -> Verdict:
        """Read an item's files; what is wrong with them is in the verdict."""
        try:
            if item.kind is Kind.DOWNLOAD:
                return self._download(item)
            if item.packaged is not None:
                return self._packaged(item, item.packaged)
            return self._export(item) if item.kind is Kind.EXPORT else _label_vectors(item)
        except HearthError as error:
            return Verdict(item, "wrong", [str(error)])
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            return Verdict(item, "wrong", [f"{error.filename or item.path}: {reason}"])

    def _download(self, item: Item) -> Verdict:
        pull = f"`hearth models pull {item.model}`"
        problems = self._hub.verify(item.model, self._progress)
        note = f"fetched anew by the next start, or {pull}" if problems else ""
        for copy in item.copies:
            if faults := self._copy(item, copy):
                what = copy_in_words(copy)
                problems += [f"{what}: {fault}" for fault in faults]
                note = "; ".join(filter(None, (note, f"the {what} was removed: {pull} makes it")))
        if problems:
            return Verdict(item, "wrong", problems, note)
        if item.state == "partial":
            return Verdict(item, "right", note="not finished: `hearth models pull` goes on with it")
        return Verdict(item, "right")

    def _packaged(self, item: Item, files: "Packaged") -> Verdict:
        problems = files.verify(self._progress)
        pull = f"`hearth models pull {item.path.name}`"
        if problems:
            return Verdict(item, "wrong", problems, f"fetched anew by the next start, or {pull}")
        if item.state == "partial":  # and not one of them is here
            return Verdict(item, "unchecked", note=f"not finished: {pull} goes on with it")
        return Verdict(item, "right")

    def _copy(self, item: Item, copy: Path) -> list[str]:
        """What is wrong with a copy beside a download: it is taken away then."""
        from hearth.hub.hashes import faults

        try:
            found = faults(copy, read_about(copy), self._progress)
        except ModelUnavailable as error:
            found = [str(error)]
        problems = ["nothing tells what it should be"] if found is None else found
        if problems:
            with self._hub.making(item.model, self._progress):
                take_away(copy)
        return problems

    def _export(self, item: Item) -> Verdict:
        from hearth.hub.hashes import faults
        from hearth.hub.integrity import damage_at_a_glance, mark, unmark
        from hearth.models.clip.exports import how_to_make_again

        told = read_about(item.path)
        again = how_to_make_again(told, item.precision)
        again = f"to mend it, {again}" if again else "to mend it, export the model again"
        if item.state == "partial":
            return Verdict(item, "wrong", ["files of the model are missing"], again)
        problems = faults(item.path, told, self._progress)
        if not problems and (why := damage_at_a_glance(item.path)):
            problems = [why]
        if problems:
            mark(item.path, problems)
        else:
            unmark(item.path)
        if problems is None:
            return Verdict(item, "unchecked", note="its hearth.json has nothing to check by")
        if problems:
            return Verdict(item, "wrong", problems, again)
        by_ends = "" if told.get("content") else "by the size and both ends of each graph"
        return Verdict(item, "right", note=by_ends)


def _hub(data_dir: Path) -> "HubStore":
    from hearth.hub.store import HubStore

    return HubStore(data_dir, offline=True)


def _label_vectors(item: Item) -> Verdict:
    try:
        from hearth.models.labels.making.checks import verify_folder
    except ImportError:
        return Verdict(item, "unchecked", note="needs a node's packages")
    problems = list(verify_folder(item.path))
    if problems:
        return Verdict(item, "wrong", problems, "the next start makes them anew")
    return Verdict(item, "right")
