"""The entries of a composed request, as JSON in its meta: which tasks, with which options."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from hearth.errors import InvalidInput
from hearth.tasks.options import Option

MOST_ENTRIES = 16
LONGEST_ID = 200

ENTRIES = Option(
    "entries",
    "text",
    "",
    "names of tasks with commas between, or JSON: "
    '["ocr", {"id": "faces", "task": "face_detect", "options": {…}, "needs": […]}, …]; '
    f"at most {MOST_ENTRIES}",
)

_KEYS = {"id", "task", "options", "needs"}


class ComposeEntry(NamedTuple):
    """One task of a composed request."""

    name: str
    """``id``, or the task's name."""
    task: str
    meta: Mapping[str, str]
    """The options."""
    needs: Mapping[str, str]
    """Entries whose answers it waits for, and the option that takes the answer; empty: none
    does."""


def read_entries(text: str) -> list[ComposeEntry]:
    """Read the entries in their order; raises InvalidInput, with the entry in the message."""
    if not text.strip():
        raise InvalidInput(
            f"{ENTRIES.name} is missing: names with commas between, such as ocr,face_detection, "
            "or a JSON array"
        )
    try:
        # Plain names are what people type.
        listed = orjson.loads(text) if text.lstrip()[0] in "[{" else _names(text)
    except ValueError as error:
        raise InvalidInput(f"{ENTRIES.name} is no JSON: {error}") from None
    if not isinstance(listed, list) or not listed:
        raise InvalidInput(f"{ENTRIES.name} takes a JSON array of entries")
    if len(listed) > MOST_ENTRIES:
        raise InvalidInput(f"{len(listed)} {ENTRIES.name}; at most {MOST_ENTRIES} are taken")
    return [_entry(number, each) for number, each in enumerate(listed, 1)]


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _entry(number: int, given: Any) -> ComposeEntry:
    if isinstance(given, str):
        given = {"task": given}
    where = f"entry {number}"
    if not isinstance(given, dict) or not isinstance(given.get("task"), str):
        raise InvalidInput(f'{where} has no "task"')
    if unknown := given.keys() - _KEYS:
        raise InvalidInput(f"{where}: {min(unknown)!r} is none of {', '.join(sorted(_KEYS))}")
    task, name = given["task"], given.get("id", given["task"])
    options = given.get("options", {})
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_ID:
        raise InvalidInput(f"{where}: its id is no text of 1 to {LONGEST_ID} characters")
    if not isinstance(options, dict):
        raise InvalidInput(f"{where}: its options are no JSON object")
    meta = {key: _text(value) for key, value in options.items()}
    return ComposeEntry(name, task, meta, _needs(where, given.get("needs", [])))


def _needs(where: str, given: Any) -> dict[str, str]:
    """Read an entry's needs: ``["a"]`` waits for a; ``{"faces": "a"}`` hands a's answer over as the
    option faces.
    """
    pairs: Sequence[tuple[Any, str]] = ()
    if isinstance(given, list):
        pairs = [(name, "") for name in given]
    elif isinstance(given, dict):
        pairs = [(name, option) for option, name in given.items()]
    else:
        raise InvalidInput(f"{where}: needs is a JSON array of ids, or an object")
    if not all(isinstance(name, str) for name, _ in pairs):
        raise InvalidInput(f"{where}: needs holds something that is no id")
    if len(dict(pairs)) < len(pairs):
        raise InvalidInput(f"{where}: needs names one entry twice")
    return dict(pairs)


def _text(value: Any) -> str:
    """Write an option as meta has it."""
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # what can be read can't always be written: it may be too deep
        raise InvalidInput("an option of an entry is nested too deeply") from None
