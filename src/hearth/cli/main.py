"""Entry point of the command ``hearth``: runs it, and turns errors into one line and a code."""

import os
import sys
from collections.abc import Sequence

from hearth.cli.exit_codes import FAILURE, INTERRUPTED, OK, USAGE
from hearth.errors import HearthError, SettingsError

COMPLETING = "_HEARTH_COMPLETE"
"""Variable by which a shell asks what Tab completes; Typer makes it of the program's name."""
ONE_LINE = "10000"
"""Columns in which no help of an option is broken: each line is a word to fish and zsh."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. Errors are one line on stderr."""
    # gRPC's core writes notes of its own to stderr; they say nothing to a user.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    if COMPLETING in os.environ:
        os.environ["COLUMNS"] = ONE_LINE
    _open_standard_streams()
    try:
        from hearth.cli.app import app

        code = app(arguments, prog_name="hearth", standalone_mode=False)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left, `head` for one: nothing is wrong.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
        return FAILURE
    except Exception as error:
        explained = _explain(error)
        if explained is None:
            raise
        from hearth.cli.console import complain

        code, message = explained
        if message:
            complain(message)
    return code if isinstance(code, int) else OK


def _open_standard_streams() -> None:
    """Open stdin, stdout and stderr where a supervisor has closed them.

    Else a socket could take their numbers.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8")  # noqa: SIM115


def _explain(error: Exception) -> tuple[int, str] | None:
    """Return exit code and message for an error that the user can mend, None for our own."""
    if isinstance(error, HearthError):
        return USAGE if isinstance(error, SettingsError) else FAILURE, str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return FAILURE, f"{error.filename}: {(error.strerror or str(error)).lower()}"
    # What Typer raises for wrong arguments: it keeps the class to itself, and has moved
    # it between versions.
    describe = getattr(error, "format_message", None)
    if describe is None:
        return None
    command = getattr(getattr(error, "ctx", None), "command_path", "hearth")
    message = " ".join(str(describe()).split()).rstrip(".")
    if not message:  # no arguments at all: the help that was printed says it
        return USAGE, ""
    return USAGE, f"{message[:1].lower()}{message[1:]} (see `{command} --help`)"
