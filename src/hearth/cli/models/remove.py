"""``hearth models remove``: files that are here, taken away."""

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from hearth.cli.models.inventory import Item, Kind, chosen_of, in_words, items
from hearth.cli.options import Config, DataDir, Others, settings_of
from hearth.errors import HearthError, ModelUnavailable, SettingsError


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
    from hearth.cli.console import complain, hint, output
    from hearth.cli.exit_codes import FAILURE, OK

    settings = settings_of(config, data_dir, others)
    chosen = chosen_of(items(settings.data_dir), names)
    for item in chosen:
        hint(f"{item.kind} {item.name}, {in_words(item.size)}: {item.path}")
        if item.packaged is not None and item.packaged.loss:
            hint(f"  {item.packaged.loss}")
    if not yes and not _agreed():
        hint("nothing was removed")
        return FAILURE
    remover = Remover(settings.data_dir)
    freed = failed = 0
    for item in chosen:
        try:
            freed += remover.remove(item)
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


class Remover:
    """Removes what lies in a data folder, and nothing outside it."""

    def __init__(self, data_dir: Path) -> None:
        from hearth.hub.store import HubStore

        self._hub = HubStore(data_dir, offline=True)

    def remove(self, item: Item) -> int:
        """The bytes that are free now; raises ModelUnavailable."""
        if item.kind is Kind.DOWNLOAD:
            return self._hub.remove(item.model)
        if item.packaged is not None:
            return item.packaged.remove()
        try:
            return _remove_folder(item)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ModelUnavailable(f"can't remove {item.path}: {reason}") from error


def _remove_folder(item: Item) -> int:
    """First what vouches for the files: what a crash leaves then counts for nothing."""
    if item.path.is_symlink():
        item.path.unlink()
        return 0
    for meta in item.path.glob("*.meta.json"):
        meta.unlink()
    take_away(item.path)
    return item.size


def take_away(folder: Path) -> None:
    """Remove a folder that is there whole, or not at all; raises OSError."""
    gone = folder.with_name(f".{folder.name}.{os.getpid()}")  # nobody looks for that name
    folder.replace(gone)
    shutil.rmtree(gone)
