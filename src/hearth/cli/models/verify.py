"""``hearth models verify``: all files that are here, checked."""

from typing import Annotated

import typer

from hearth.cli.models.inventory import chosen_of, items
from hearth.cli.options import Config, DataDir, Others, settings_of


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
    from hearth.cli.models.verdict import Checker
    from hearth.cli.progress import ProgressView

    settings = settings_of(config, data_dir, others)
    chosen = chosen_of(items(settings.data_dir), names or [])
    wrong = False
    with ProgressView() as bar:
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
