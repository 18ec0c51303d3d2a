"""The media that are read here: one line for each."""

from collections.abc import Iterable

from hearth.media.medium import Medium
from hearth.media.picture import IMAGE

MEDIA: tuple[Medium, ...] = (IMAGE,)

MIMES = tuple(mime for medium in MEDIA for mime in medium.mimes)
"""Mimes of all payloads that are decoded."""


def medium_of(mimes: Iterable[str]) -> Medium | None:
    """Find the medium that some of these mimes are of; None: of none, such as text."""
    return next((medium for medium in MEDIA if not set(medium.mimes).isdisjoint(mimes)), None)
