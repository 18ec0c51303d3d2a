"""``hearth models verify`` and ``remove``: files that are here, checked or taken away."""

import sys
from typing import Annotated

import typer

from hearth.cli.inventory import Item, in_words, items, matching
from hearth.cli.options import Config, DataDir, Others, settings_of
from hearth.errors import HearthError, ModelUnavailable, SettingsError


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
    the next start, or `hearth models pull`, fetches that file anew.
    """
    from hearth.cli import FAILURE, OK
    from hearth.cli.checking import Checker
    from hearth.cli.console import hint, output, print_json
    from hearth.cli.progress import Bar

    settings = settings_of(config, data_dir, others)
    chosen = _chosen(items(settings.data_dir), names or [])
    wrong = False
    with Bar() as bar:
        checker = Checker(settings.data_dir, bar.progress)
        for item in chosen:
            verdict = checker.check(item)
            wrong = wrong or verdict.state == "wrong"
            if json:
                print_json(verdict.to_json())
            else:
                output().print(verdict.in_words(), soft_wrap=True)
    if not chosen:
        hint(f"no model files in {settings.data_dir} yet")
    return FAILURE if wrong else OK


def remove(
    names: Annotated[
        list[str],
        typer.Argument(
            help="As `hearth models list` shows them: ORG/NAME, datasets/ORG/NAME, a model with "
            "its exports and label vectors, or one export: NAME@int8."
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    config: Config = None,
    data_dir: DataDir = None,
    others: Others = None,
) -> int:
    """Remove model files. A node that runs keeps what it has open."""
    from hearth.cli import FAILURE, OK
    from hearth.cli.checking import Remover
    from hearth.cli.console import complain, hint, output

    settings = settings_of(config, data_dir, others)
    chosen = _chosen(items(settings.data_dir), names)
    for item in chosen:
        hint(f"{item.kind} {item.name}, {in_words(item.size)}: {item.path}")
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


def _chosen(found: list[Item], names: list[str]) -> list[Item]:
    """What the names mean, each once; everything without names. Raises ModelUnavailable."""
    if not names:
        return found
    chosen: dict[Item, None] = {}
    for name in names:
        meant = matching(found, name)
        if not meant:
            here = ", ".join(dict.fromkeys(item.name for item in found)) or "nothing"
            raise ModelUnavailable(f"nothing here is called {name}; here are: {here}")
        chosen.update(dict.fromkeys(meant))
    return list(chosen)


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise SettingsError("remove asks first, and nobody can answer here: add --yes")
    return typer.confirm("Remove?", err=True)
