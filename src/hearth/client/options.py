"""Options of tasks, as Python's values and as the wire has them; entries of a composed request."""

from collections.abc import Mapping
from typing import Any

import orjson

COMPOSE = "compose"
ENTRIES = "entries"


def to_meta(options: Mapping[str, Any]) -> dict[str, str]:
    """Write options as meta: texts as they are, numbers, truth, lists and mappings as JSON.

    Options that are None aren't sent. Raises TypeError for what JSON has no word for, and
    ValueError for what isn't a text or a number: half a character, NaN.
    """
    return {name: _written(name, value) for name, value in options.items() if value is not None}


def _written(name: str, value: Any) -> str:
    if isinstance(value, str):
        text = str.__str__(value)  # of an Enum the value, and not the name
    elif isinstance(value, bytes | bytearray):
        raise TypeError(f"the option {name} can't be bytes")
    else:
        try:
            text = orjson.dumps(value, option=_NUMPY).decode()
        except TypeError as error:
            raise TypeError(f"the option {name} can't be sent: {error}") from None
        if text == "null":  # as JSON has NaN and the infinities
            raise ValueError(f"the option {name} is {value}, which is no number")
    try:
        f"{name}{text}".encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"the option {name} can't be sent: {error}") from None
    return text


_NUMPY = orjson.OPT_SERIALIZE_NUMPY


def entries_of(task: str, meta: Mapping[str, str]) -> frozenset[str]:
    """Name the tasks that a composed request is made of, as far as they can be read."""
    if task != COMPOSE:
        return frozenset()
    return frozenset(filter(None, map(_task, read_entries(meta.get(ENTRIES, "")) or ())))


def read_entries(text: str) -> list[Any] | None:
    """Read entries: a JSON list, or names with commas between; None where it is neither."""
    if not text.lstrip().startswith(("[", "{")):
        return [name.strip() for name in text.split(",") if name.strip()] or None
    try:
        entries = orjson.loads(text)
    except ValueError:
        return None  # the node says what is wrong with it
    return entries if isinstance(entries, list) else None


def _task(entry: Any) -> str:
    task = entry.get("task", "") if isinstance(entry, dict) else entry
    return task if isinstance(task, str) else ""
