"""The command line. Nothing heavy is imported before a command needs it."""

import os
import sys
from collections.abc import Sequence

OK, FAILURE, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes; the last is the shell's own for Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code. Errors are one line on stderr."""
    # gRPC's core writes notes of its own to stderr; they say nothing to a user.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from hearth.cli.app import app
    from hearth.cli.console import complain
    from hearth.errors import HearthError, SettingsError

    try:
        code = app(arguments, prog_name="hearth", standalone_mode=False)
    except SettingsError as error:
        complain(str(error))
        return USAGE
    except HearthError as error:
        complain(str(error))
        return FAILURE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left, `head` for one: nothing is wrong.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
        return FAILURE
    except Exception as error:
        if (message := _wrong_usage(error)) is None:
            raise
        complain(message)
        return USAGE
    return code if isinstance(code, int) else OK


def _wrong_usage(error: Exception) -> str | None:
    """What is wrong with the arguments, in one line; None where the error is another."""
    # Typer keeps the class to itself, and has moved it between versions.
    describe = getattr(error, "format_message", None)
    if describe is None:
        return None
    context = getattr(error, "ctx", None)
    command = getattr(context, "command_path", "hearth")
    message = " ".join(str(describe()).split()).rstrip(".")
    return f"{message[:1].lower()}{message[1:]} (see `{command} --help`)"
