"""Where the command line writes: answers to stdout, everything else to stderr."""

import os
import re
import sys
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Self, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.style import Style
from rich.text import Text as RichText

PIPE_WIDTH = 120
"""Columns where nobody looks at a terminal, unless COLUMNS says otherwise."""

_COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that a terminal would obey: C0 (but for tabs and lines' ends) and C1 of ECMA-48,
Unicode's line separators and what turns the direction of text; and what no encoding has."""


def shown(text: str) -> str:
    """Write out what a terminal would obey in a stranger's text, as in ``\\x1b``."""
    # Nearly all of it is printable, which is soon known.
    return text if text.isprintable() else _COMMANDS.sub(_written_out, text)


def _written_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class Text(RichText):
    """Text for people, whoever wrote it."""

    def __init__(self, text: str = "", style: str = "", **how: Any) -> None:
        super().__init__(shown(text), style, **how)

    def append(self, text: RichText | str, style: str | Style | None = None) -> Self:
        """Append as rich does, with commands to the terminal written out."""
        super().append(shown(text) if isinstance(text, str) else text, style)
        return self


class _Console(Console):
    """Console that takes no text for markup or for commands to the terminal."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        # All text comes through here, the cells of tables too; rich's own commands aren't Text.
        if isinstance(renderable, RichText) and shown(renderable.plain) is not renderable.plain:
            renderable = Text(renderable.plain, end=renderable.end)
        return super().render(renderable, options)

    def render_str(self, text: str, **how: Any) -> RichText:
        return super().render_str(shown(text), **how)

    def print(self, *objects: Any, **how: Any) -> None:
        """Print as rich does; an OSError says which stream it is of."""
        try:
            super().print(*objects, **how)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _of_stream(error, "stderr" if self.file is sys.stderr else "stdout") from None


def _console(stream: TextIO) -> Console:
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return _Console(file=stream, width=width, highlight=False, emoji=False, markup=False)


def _of_stream(error: OSError, name: str) -> OSError:
    return OSError(error.errno, error.strerror or str(error), name)


@lru_cache(maxsize=1)
def output() -> Console:
    """Return the console of stdout: answers."""
    return _console(sys.stdout)


@lru_cache(maxsize=1)
def notes() -> Console:
    """Return the console of stderr: progress, hints and errors."""
    return _console(sys.stderr)


def say(message: str, style: str) -> None:
    """Print one line on stderr, whatever is in it."""
    line = shown(message.strip()).replace("\n", r"\n")
    notes().print(line, style=style, markup=False, soft_wrap=True)


def complain(message: str) -> None:
    """Print an error in one line."""
    say(f"hearth: {message}", "red")


def warn(message: str) -> None:
    """Print a line about what is probably not as it was meant."""
    say(message, "yellow")


def hint(message: str) -> None:
    """Print a line that helps, beside the answers."""
    say(message, "dim")


def print_json(value: object) -> None:
    """Print one line of JSON at once, whatever the width; raises OSError."""
    import orjson

    line = orjson.dumps(value).decode() + "\n"
    try:
        sys.stdout.write(line)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _of_stream(error, "stdout") from None


def in_words(size: int) -> str:
    """Write bytes with the unit that fits: 12 kB, 610.3 MB, 1.71 GB."""
    if size < 1e6:
        return f"{-(-size // 1000)} kB"
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.2f} GB"
