"""Guesses at what a user meant by a name that means nothing."""

import difflib
from typing import TYPE_CHECKING

from hearth.errors import SettingsError

if TYPE_CHECKING:
    from hearth.settings import Settings

_LIKE = 0.75
"""Likeness of two names, of 1, from which on one may be a slip of the other."""
_TELLS = 3
"""Letters of a service's name that are enough to say which is meant."""


def require_meant(settings: "Settings", name: str) -> None:
    """Refuse a name that no model can have.

    Raises SettingsError, with a name that is like it, or the names of the services.
    """
    from hearth.cli.models.service_names import service_names
    from hearth.hub.reference import KNOWN, parse

    try:
        parse(name)
    except SettingsError as error:
        own = service_names(settings)
        like = difflib.get_close_matches(name, [*own, *KNOWN], n=1, cutoff=_LIKE)
        like += [service for service in own if _is_longer_or_shorter(name.lower(), service)]
        meant = f"did you mean {like[0]}?" if like else f"the services are {', '.join(own)}"
        raise SettingsError(f"{error}; {meant}") from None


def _is_longer_or_shorter(name: str, service: str) -> bool:
    """Tell whether a name is a service's with more or less, as mediapipe-0.10.21 is."""
    return name.startswith(service) or (len(name) >= _TELLS and service.startswith(name))


def model_of(settings: "Settings", name: str) -> str:
    """Find the model that a name means: a service's name means its own; raises SettingsError."""
    from hearth.cli.models.service_names import clip_settings, service_names

    if name not in service_names(settings):
        require_meant(settings, name)
        return name
    own = clip_settings(settings, name)
    if own is None:
        raise SettingsError(f"{name} has no model that can be exported")
    return own.model
