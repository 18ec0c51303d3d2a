"""One folder of model files, checked against what it should hold, or removed."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hearth.cli.inventory import Item, Kind, read_about
from hearth.errors import HearthError, ModelUnavailable

if TYPE_CHECKING:
    from rich.text import Text

    from hearth.hub.progress import Progress
    from hearth.hub.store import HubStore


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
        from rich.text import Text

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
            return _export(item) if item.kind is Kind.EXPORT else _label_vectors(item)
        except HearthError as error:
            return Verdict(item, "wrong", [str(error)])
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            return Verdict(item, "wrong", [f"{error.filename or item.path}: {reason}"])

    def _download(self, item: Item) -> Verdict:
        problems = self._hub.verify(item.model, self._progress)
        if problems:
            return Verdict(
                item,
                "wrong",
                problems,
                f"fetched anew by the next start, or `hearth models pull {item.model}`",
            )
        if item.state == "partial":
            return Verdict(item, "right", note="not finished: `hearth models pull` goes on with it")
        return Verdict(item, "right")


class Remover:
    """Removes what lies in a data folder, and nothing outside it."""

    def __init__(self, data_dir: Path) -> None:
        self._hub = _hub(data_dir)

    def remove(self, item: Item) -> int:
        """The bytes that are free now; raises ModelUnavailable."""
        if item.kind is Kind.DOWNLOAD:
            return self._hub.remove(item.model)
        try:
            return _remove_folder(item)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ModelUnavailable(f"can't remove {item.path}: {reason}") from error


def _hub(data_dir: Path) -> "HubStore":
    from hearth.hub.store import HubStore

    return HubStore(data_dir, offline=True)


def _export(item: Item) -> Verdict:
    from hearth.files import fingerprint

    about = read_about(item.path)
    again = f"make it again: hearth models export {item.model}"
    if about.get("free_batch"):
        again = f"hearth models remove {item.name}: the next start or pull makes it again"
    if item.state != "whole":
        return Verdict(item, "wrong", ["files of the model are missing"], again)
    known = about.get("files")
    if not isinstance(known, dict) or not known:
        return Verdict(item, "unchecked", note="its hearth.json has no fingerprints to check by")
    problems = []
    for name, expected in sorted(known.items()):
        path = item.path / name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif fingerprint([path]).get(name) != expected:
            problems.append(f"{name} isn't the file that was made")
    if problems:
        return Verdict(item, "wrong", problems, again)
    return Verdict(item, "right", note="by the size and both ends of each file")


def _label_vectors(item: Item) -> Verdict:
    try:
        from hearth.models.labels import verify_folder
    except ImportError:
        return Verdict(item, "unchecked", note="needs a node's packages")
    problems = list(verify_folder(item.path))
    if problems:
        return Verdict(item, "wrong", problems, "the next start makes them anew")
    return Verdict(item, "right")


def _remove_folder(item: Item) -> int:
    """First what vouches for the files: what a crash leaves then counts for nothing."""
    if item.path.is_symlink():
        item.path.unlink()
        return 0
    for meta in item.path.glob("*.meta.json"):
        meta.unlink()
    # Under a name that nobody looks for: a folder is there whole, or not at all.
    gone = item.path.with_name(f".{item.path.name}.{os.getpid()}")
    item.path.replace(gone)
    shutil.rmtree(gone)
    return item.size
