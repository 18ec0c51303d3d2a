"""``hearth models remove``: files that are here, taken away."""

import sys
from typing import Annotated

import typer

from hearth.cli.models.words import choose
from hearth.cli.options import Config, DataDir, Others, settings_of
from hearth.errors import HearthError, SettingsError


def remove(
    names: Annotated[
        list[str],
        typer.Argument(
            help="As `hearth models list` shows them: ORG/NAME, datasets/ORG/NAME, mediapipe, a "
            "model with its exports and label vectors, or one export: NAME@int8."
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    config: Config = None,
    data_dir: DataDir = None,
    others: Others = None,
) -> int:
    """Remove model files. A node that runs keeps what it has open."""
    from hearth.cli.console import complain, hint, in_words, output
    from hearth.cli.exit_codes import FAILURE, OK
    from hearth.families.inventory import inventory_of

    settings = settings_of(config, data_dir, others)
    inventory = inventory_of(settings.data_dir)
    chosen = choose(inventory.files(), names)
    for files in chosen:
        hint(f"{files.kind} {files.name}, {in_words(files.size)}: {files.path}")
        if files.packaged is not None and files.packaged.loss:
            hint(f"  {files.packaged.loss}")
    if not yes and not _agreed():
        hint("nothing was removed")
        return FAILURE
    freed = failed = 0
    for files in chosen:
        try:
            freed += inventory.remove(files)
        except HearthError as error:
            complain(str(error))
            failed += 1
    removed = len(chosen) - failed
    output().print(f"removed {removed} of {len(chosen)}, {in_words(freed)} are free")
    return FAILURE if failed else OK


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise SettingsError("remove asks first, and nobody can answer here: add --yes")
    return typer.confirm("Remove?", err=True)
