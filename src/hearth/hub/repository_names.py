"""How repositories are called: by users, in the hub's addresses, and as folders here.

A model is ``ORG/NAME`` and a data set ``datasets/ORG/NAME``, as in the hub's own addresses.
"""

import re
from typing import Literal

from hearth.errors import SettingsError

DATA_SETS = "datasets/"
"""Prefix of the name of a data set."""

_NAME = re.compile(r"(datasets/)?([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)", re.ASCII)
_SLASH = "--"
"""Mark in the place of ``/`` in a folder's name: the hub allows no name that holds it."""


def split(repository: str) -> tuple[Literal["model", "dataset"], str]:
    """Split a repository's name into its kind and ORG/NAME.

    Raises SettingsError for what is no name: nothing else may become a path or an address.
    """
    match = _NAME.fullmatch(repository)
    if match is None or _SLASH in repository or ".." in repository:
        raise _refused(repository)
    kind, name = match.groups()
    if name.startswith(DATA_SETS):
        raise _refused(repository)
    return ("dataset" if kind else "model"), name


def is_repository(text: str) -> bool:
    """Tell whether a text names a repository."""
    try:
        split(text)
    except SettingsError:
        return False
    return True


def is_data_set(text: str) -> bool:
    """Tell whether a text names a data set, rightly or not."""
    return text.startswith(DATA_SETS)


def folder_name(repository: str) -> str:
    """Name the one folder of a repository; raises SettingsError."""
    split(repository)
    return repository.replace("/", _SLASH)


def of_folder(name: str) -> str | None:
    """Name the repository that a folder belongs to; None where it belongs to none."""
    repository = name.replace(_SLASH, "/")
    return repository if is_repository(repository) else None


def _refused(repository: str) -> SettingsError:
    return SettingsError(
        f"{repository!r} is no repository of the hub: write ORG/NAME (a data set: "
        "datasets/ORG/NAME)"
    )
