"""The tasks that a composed request is made of."""

from collections.abc import Mapping
from typing import Any

import orjson

COMPOSE = "compose"
ENTRIES = "entries"


def entries_of(task: str, meta: Mapping[str, str]) -> frozenset[str]:
    """Their names, as far as they can be read; none where nothing is composed."""
    if task != COMPOSE:
        return frozenset()
    return frozenset(filter(None, map(_task, listed(meta.get(ENTRIES, "")) or ())))


def listed(text: str) -> list[Any] | None:
    """The entries: a JSON list, or names with commas between; None where it is neither."""
    if not text.lstrip().startswith(("[", "{")):
        return [name.strip() for name in text.split(",") if name.strip()] or None
    try:
        entries = orjson.loads(text)
    except ValueError:
        return None  # the node says what is wrong with it
    return entries if isinstance(entries, list) else None


def _task(entry: Any) -> str:
    told = entry.get("task", "") if isinstance(entry, dict) else entry
    return told if isinstance(told, str) else ""
