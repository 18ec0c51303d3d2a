"""``hearth models verify``: all files that are here, checked."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hearth.cli.models.words import choose, copy_in_words, files_as_json
from hearth.cli.options import Config, DataDir, Others, settings_of
from hearth.errors import HearthError
from hearth.hub.model_files import FilesKind, ModelFiles

if TYPE_CHECKING:
    from hearth.cli.console import Text
    from hearth.hub.inventory import ModelInventory, Verification
    from hearth.hub.progress import Progress


def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="As `hearth models list` shows them; without: all.")
    ] = None,
    config: Config = None,
    data_dir: DataDir = None,
    others: Others = None,
    json: Annotated[bool, typer.Option("--json", help="A line of JSON for each.")] = False,
) -> int:
    """Read all model files that are here and compare them with what they should be.

    The exit code is 1 where anything is wrong. A download's file that is, counts no longer:
    the next start, or `hearth models pull`, fetches that file anew. An export that is wrong
    isn't taken by a node until it is made anew.
    """
    from hearth.cli.console import hint, output, print_json
    from hearth.cli.exit_codes import FAILURE, OK
    from hearth.cli.progress import ProgressView
    from hearth.families.inventory import inventory_of

    settings = settings_of(config, data_dir, others)
    inventory = inventory_of(settings.data_dir)
    chosen = choose(inventory.files(), names or [])
    wrong = False
    with ProgressView() as view:
        for files in chosen:
            checked = _check(inventory, files, view.progress)
            wrong = wrong or checked.state == "wrong"
            if json:
                print_json(checked.to_json())
            else:
                output().print(checked.as_text(), soft_wrap=True)
    if not chosen:
        hint(f"no model files in {settings.data_dir} yet")
    return FAILURE if wrong else OK


@dataclass(frozen=True)
class _Checked:
    """Outcome of checking one folder, in words."""

    files: ModelFiles
    state: str
    problems: list[str]
    note: str = ""
    """Further remarks: why it wasn't checked, how to mend it."""

    def to_json(self) -> dict[str, Any]:
        """Make a line of ``--json``."""
        return {
            **files_as_json(self.files),
            "verdict": self.state,
            "problems": self.problems,
            "note": self.note or None,
        }

    def as_text(self) -> "Text":
        """Write it for people."""
        from hearth.cli.console import Text

        mark, colour = {"right": ("✓", "green"), "wrong": ("✗", "red")}.get(
            self.state, ("–", "yellow")
        )
        text = Text(f"{mark} ", style=colour)
        text.append(f"{self.files.kind} {self.files.name}", style="default")
        for problem in self.problems:
            text.append(f"\n  {problem}", style="red")
        if self.note:
            text.append(f"\n  {self.note}", style="dim")
        return text


def _check(inventory: "ModelInventory", files: ModelFiles, progress: "Progress") -> _Checked:
    try:
        verification = inventory.verify(files, progress)
    except HearthError as error:
        return _Checked(files, "wrong", [str(error)])
    return _Checked(
        files, verification.state, problems_of(verification), _note(files, verification)
    )


def problems_of(verification: "Verification") -> list[str]:
    """Tell what is wrong with a folder, a line each."""
    of_copies = [
        f"{copy_in_words(copy)}: {fault}"
        for copy, faults in verification.copies.items()
        for fault in faults
    ]
    return [*verification.problems, *of_copies]


def _note(files: ModelFiles, verification: "Verification") -> str:
    """Tell what to do about what was found, and how far it was checked."""
    if files.kind is FilesKind.EXPORT:
        return _note_on_export(files, verification)
    if files.kind is FilesKind.LABELS:
        return "the next start makes them anew" if verification.problems else ""
    name = files.path.name if files.kind is FilesKind.PACKAGED else files.model
    pull = f"`hearth models pull {name}`"
    notes = [f"fetched anew by the next start, or {pull}"] if verification.problems else []
    notes += [
        f"the {copy_in_words(copy)} was removed: {pull} makes it" for copy in verification.copies
    ]
    if not notes and files.condition == "partial":
        again = "`hearth models pull`" if files.kind is FilesKind.DOWNLOAD else pull
        notes = [f"not finished: {again} goes on with it"]
    return "; ".join(notes)


def _note_on_export(files: ModelFiles, verification: "Verification") -> str:
    from hearth.families.clip.exports import how_to_make_again
    from hearth.hub.atomic import about

    if verification.state == "unchecked":
        return "its hearth.json has nothing to check by"
    if verification.state == "right":
        return "by the size and both ends of each graph" if verification.by_ends else ""
    again = how_to_make_again(about(files.path), files.precision)
    return f"to mend it, {again or 'export the model again'}"
