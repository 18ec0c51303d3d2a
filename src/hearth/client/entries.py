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
    text = meta.get(ENTRIES, "").strip()
    if not text.startswith(("[", "{")):
        return frozenset(name.strip() for name in text.split(",") if name.strip())
    try:
        told = orjson.loads(text)
    except ValueError:
        return frozenset()  # the node says what is wrong with it
    return frozenset(filter(None, map(_task, told if isinstance(told, list) else [])))


def _task(entry: Any) -> str:
    told = entry.get("task", "") if isinstance(entry, dict) else entry
    return told if isinstance(told, str) else ""
