"""Settings that a running node takes anew: those that are declared with ``RELOADABLE``."""

from functools import reduce
from typing import Any, NamedTuple

from hearth.settings import Settings, all_fields, is_reloadable


class Reload(NamedTuple):
    """Outcome of reading settings anew."""

    settings: Settings
    """Settings in force from now on: the old ones, but for those that may change."""
    applied: tuple[str, ...]
    """Paths of settings that have changed."""
    need_restart: tuple[str, ...]
    """Paths of settings that read otherwise now, and stay as they are until the node is started
    again."""


def reload(current: Settings, fresh: Settings) -> Reload:
    """Take over what may change of ``fresh`` settings, which were read just now."""
    changed = {
        path: is_reloadable(field)
        for path, field in all_fields()
        if _of(current, path) != _of(fresh, path)
    }
    applied = tuple(path for path, can_change in changed.items() if can_change)
    settings = current
    for path in applied:
        settings = _with(settings, path.split("."), _of(fresh, path))
    return Reload(settings, applied, tuple(path for path in changed if path not in applied))


def _of(settings: Settings, path: str) -> Any:
    return reduce(getattr, path.split("."), settings)


def _with(section: Any, path: list[str], value: Any) -> Any:
    """Copy settings, or a section of them, with another value at a path."""
    name, *rest = path
    if rest:
        value = _with(getattr(section, name), rest, value)
    return section.model_copy(update={name: value})
