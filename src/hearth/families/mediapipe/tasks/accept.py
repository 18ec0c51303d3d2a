"""Answers in the client's choice of several formats."""

from collections.abc import Mapping

from hearth.tasks.options import Option
from hearth.tasks.task import Call

ACCEPT = Option(
    "accept",
    "text",
    "",
    "mimes, with commas between: the first that can be had, where format doesn't say",
)


def format_option(mimes: Mapping[str, str], summary: str) -> Option:
    """Declare the option ``format`` of a task that can give these mimes, by format."""
    return Option("format", "choice", None, summary, choices=tuple(mimes))


def chosen(call: Call, mimes: Mapping[str, str], default: str) -> str:
    """Choose a request's format: by ``format``, or by ``accept`` (weights don't count)."""
    format_name: str | None = call.options["format"]
    if format_name is not None:
        return format_name
    for entry in call.options[ACCEPT.name].lower().split(","):
        wanted = entry.partition(";")[0].strip()
        for name, mime in mimes.items():
            if wanted == mime:
                return name
    return default
