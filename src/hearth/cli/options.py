"""Options that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hearth.environment import NODES

if TYPE_CHECKING:
    from hearth.settings import Settings


def require_text(given: str) -> str:
    """``given``; raises typer.BadParameter for bytes that are no text, which can't be sent."""
    try:
        given.encode()
    except UnicodeEncodeError:
        raise typer.BadParameter(f"{given}: this is no text in UTF-8") from None
    return given


def _require_texts(given: list[str] | str | None) -> list[str] | str | None:
    for each in [given] if isinstance(given, str) else given or []:
        require_text(each)
    return given


_NODE = ("--node", "-n")
_ADDRESS = "HOST:PORT"

Nodes = Annotated[
    list[str] | None,
    typer.Option(
        *_NODE,
        metavar=_ADDRESS,
        callback=_require_texts,
        help=f"A node to ask. May be repeated; else {NODES}, "
        "else all on the network that can do it.",
    ),
]
OneNode = Annotated[
    str | None,
    typer.Option(
        *_NODE,
        metavar=_ADDRESS,
        callback=_require_texts,
        help=f"The node to ask; else one of {NODES}, else the first on the network that can do it.",
    ),
]
NodesAsWell = Annotated[
    list[str] | None,
    typer.Option(
        *_NODE,
        metavar=_ADDRESS,
        callback=_require_texts,
        help=f"A node to list as well, where mDNS doesn't reach. May be repeated; else {NODES}.",
    ),
]
Texts = Annotated[list[str] | None, typer.Option("--text", "-t", help="A text. May be repeated.")]
TaskOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        "-o",
        metavar="KEY=VALUE",
        help="An option of the task; KEY=@FILE takes a file's content "
        "(base64 where it is no text).",
    ),
]
Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="A settings file; else ./hearth.toml.")
]
DataDir = Annotated[Path | None, typer.Option(help="The node's data folder.")]
Others = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="NAME=VALUE", help="A setting. May be repeated."),
]


def settings_of(
    config: Path | None, data_dir: Path | None, others: list[str] | None = None
) -> "Settings":
    """The settings that the options amount to; raises SettingsError.

    What may be wrong with the environment is said on stderr.
    """
    from hearth.cli.console import warn
    from hearth.cli.serve import assignments
    from hearth.settings import load

    flags = {"data_dir": data_dir, **assignments(others or [])}
    return load(flags, config=config, warn=lambda line: warn(f"hearth: {line}"))
