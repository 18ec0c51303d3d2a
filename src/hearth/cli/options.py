"""Options that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hearth.settings import Settings

Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="A settings file; else ./hearth.toml.")
]
DataDir = Annotated[Path | None, typer.Option(help="The node's data folder.")]
Others = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="NAME=VALUE", help="A setting. May be repeated."),
]


def settings_of(config: Path | None, data_dir: Path | None, others: list[str] | None) -> "Settings":
    """The settings that the options amount to; raises SettingsError."""
    from hearth.cli.serve import assignments
    from hearth.settings import load

    return load({"data_dir": data_dir, **assignments(others or [])}, config=config)
