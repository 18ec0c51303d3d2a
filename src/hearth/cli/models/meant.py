"""What a user may have meant by a name that means nothing."""

import difflib
from typing import TYPE_CHECKING

from hearth.errors import SettingsError

if TYPE_CHECKING:
    from hearth.settings import Settings

_LIKE = 0.75
"""How alike two names are, of 1, of which one may be a slip of the other."""


def require_meant(settings: "Settings", name: str) -> None:
    """Refuse a name that no model can have; raises SettingsError, with a name that is like it."""
    from hearth.hub.reference import KNOWN, parse

    try:
        parse(name)
    except SettingsError as error:
        names = [*services(settings), *KNOWN]
        like = difflib.get_close_matches(name, names, n=1, cutoff=_LIKE)
        if not like:
            raise
        raise SettingsError(f"{error}; did you mean {like[0]}?") from None


def model_of(settings: "Settings", name: str) -> str:
    """The model that a name means: a service's name means its own; raises SettingsError."""
    if name not in services(settings):
        require_meant(settings, name)
        return name
    own = settings.of_model(name)
    if own is None:
        raise SettingsError(f"{name} has no model that can be exported")
    return own.model


def services(settings: "Settings") -> list[str]:
    """The names of all services that there are, whether they run or not."""
    from hearth.settings import ServiceSettings

    fields = type(settings).model_fields
    known = [name for name in fields if isinstance(getattr(settings, name), ServiceSettings)]
    return list(dict.fromkeys((*known, *settings.services)))
