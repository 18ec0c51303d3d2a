"""Options that several commands share, and those of a task, as ``--option`` gives them."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hearth.environment import NODES
from hearth.known import TASKS

if TYPE_CHECKING:  # the command line's help needs none of the client
    from hearth.client import TaskInfo
    from hearth.settings import Settings
LARGEST = 252 << 10
"""Characters of a file's content: a node takes 256 KiB beside a message's payload."""


def complete_task(incomplete: str) -> list[str]:
    """Return the names of hearth's own tasks that begin so; a shell waits for it at Tab."""
    names = dict.fromkeys(name for each in TASKS.values() for name in each)
    return [name for name in names if name.startswith(incomplete)]


def require_text(text: str) -> str:
    """Return ``text``; raises typer.BadParameter for bytes that are no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise typer.BadParameter(f"{text}: this is no text in UTF-8") from None
    return text


def _require_texts(text: list[str] | str | None) -> list[str] | str | None:
    for each in [text] if isinstance(text, str) else text or []:
        require_text(each)
    return text


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
    """Load the settings that the options amount to; raises SettingsError.

    What may be wrong with the environment is said on stderr.
    """
    from hearth.cli.console import warn
    from hearth.cli.serve import assignments
    from hearth.settings import load

    flags = {"data_dir": data_dir, **assignments(others or [])}
    return load(flags, config=config, warn=lambda line: warn(f"hearth: {line}"))


def read_options(options: Sequence[str]) -> dict[str, str]:
    """Read ``KEY=VALUE`` options; raises typer.BadParameter for what isn't one."""
    return dict(map(_read, options))


def _read(option: str) -> tuple[str, str]:
    key, equals, value = option.partition("=")
    if not equals or not key:
        raise typer.BadParameter(f"--option {option}: write it as KEY=VALUE")
    if not value.startswith("@"):
        return require_text(key), require_text(value)
    try:
        text = _as_text(Path(value[1:]).read_bytes())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise typer.BadParameter(f"--option {option}: can't read the file: {reason}") from None
    if len(text) > LARGEST:
        raise typer.BadParameter(
            f"--option {option}: the file is too large for an option, which has room for "
            f"{LARGEST:,} bytes of text or {LARGEST * 3 // 4:,} of a picture"
        )
    return key, text


def _as_text(content: bytes) -> str:
    if b"\0" not in content:
        try:
            return content.decode()
        except UnicodeDecodeError:
            pass
    import base64

    return base64.b64encode(content).decode()


def warn_of_unknown(task: "TaskInfo", options: Collection[str]) -> None:
    """Print a line for each option that the task doesn't list: the node won't say a word."""
    import difflib

    from hearth.cli.console import warn

    # Nodes that list their options list this one for every task.
    if "priority" not in task.limits:
        return
    # A plain number is a limit of the node's, and no option's description.
    known = [name for name, limit in task.limits.items() if not limit.isdecimal()]
    for name in options:
        if name in known or "." in name or name in _aliases(task.name):
            continue
        line = f"{name} isn't an option of {task.name} here"
        if close := difflib.get_close_matches(name.lower(), known, 1):
            line += f"; did you mean {close[0]}"
        warn(line)


def _aliases(task: str) -> set[str]:
    """Return other names of a task's options, which no node lists."""
    try:
        from hearth.families.tasks import TASKS
    except ImportError:
        return set()  # a client's installation has no tasks of its own
    options = [option for each in TASKS if task in each.names for option in each.options]
    return {alias for option in options for alias in option.aliases}
