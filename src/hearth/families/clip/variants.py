"""An export in several precisions: where each lies, and which a node takes.

data/exports/NAME/         fp32
data/exports/NAME@int8/    the same model for a CPU
data/exports/NAME@fp16/    the same model for a GPU
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from hearth.backends.registry import require_backend
from hearth.errors import ModelUnavailable
from hearth.families.clip.exports import how_to_convert, prints
from hearth.families.clip.settings import ClipSettings
from hearth.hub import atomic
from hearth.hub.integrity import is_sound
from hearth.models.sessions import session_options

LEAST_COSINE = 0.99
"""Cosine below which a variant is no stand-in for the original: it is refused, and never chosen."""

_MOST_COSINE = 1.0001
"""Rounding alone can take a cosine above 1: what is above this was never measured."""


def variant_folder(export: Path, precision: str) -> Path:
    """Name the folder where a variant lies, beside the export in fp32."""
    return export.with_name(f"{export.name}@{precision}")


class Place(NamedTuple):
    """A model, and where its exports lie."""

    name: str
    """Name in full: exports tell by it whose they are."""
    export: Path
    """The place of the export in fp32; the variants are beside it."""


def choose(base: Path | None, place: Place, settings: ClipSettings) -> Path | None:
    """Choose the folder of the precision that is wanted; None where it isn't here.

    ``base`` are the graphs as they came, where they are here. Raises ModelUnavailable where
    a variant is asked for that was made of other graphs, BackendUnavailable for a device that
    can't be had.
    """
    if settings.precision == "auto":
        return _best(base, place, settings)
    original = precision_of(base) if base else ""
    if original == settings.precision:
        return base
    if settings.precision == "fp32":
        if base is not None:
            raise ModelUnavailable(
                f"{base} is {original}: name another, or set precision = {original}"
            )
        return None
    variant = variant_folder(place.export, settings.precision)
    if not is_sound(variant):
        return None
    if not _fits(atomic.about(variant), base, place.name):
        raise ModelUnavailable(
            f"{variant} was made of other files than are here now: "
            f"{how_to_convert(place.name, settings.precision)}"
        )
    return variant


def left_out(base: Path | None, place: Place, settings: ClipSettings) -> str | None:
    """Tell why ``auto`` leaves a variant of this model that has passed, and how to make it anew.

    None where it leaves none. Raises as ``choose``.
    """
    if settings.precision != "auto" or (variant := _wanted(place, settings)) is None:
        return None
    metadata = atomic.about(variant)
    is_own = metadata.get("reference") == place.name
    if not is_own or not _passed(metadata) or _fits(metadata, base, place.name):
        return None
    again = how_to_convert(place.name, precision_of(variant))
    return f"{variant} was made of other files than are here now, so it isn't used: {again}"


def precision_of(folder: Path) -> str:
    """Read what a folder's ``hearth.json`` says of its weights; fp32 where it says nothing."""
    return str(atomic.about(folder).get("precision") or "fp32")


def _best(base: Path | None, place: Place, settings: ClipSettings) -> Path | None:
    """Return the variant that is fastest on the device, if proved; else the graphs as they came."""
    variant = _wanted(place, settings)
    if variant is None:
        return base
    metadata = atomic.about(variant)
    return variant if _passed(metadata) and _fits(metadata, base, place.name) else base


def _wanted(place: Place, settings: ClipSettings) -> Path | None:
    """Return the variant for the device, where it is here."""
    present = {
        name: folder
        for name in ("int8", "fp16")
        if is_sound(folder := variant_folder(place.export, name))
    }
    if not present:
        return None  # the device isn't asked for
    asked = replace(session_options(settings), require_device=False)
    device = require_backend(settings.backend).place(asked).device
    return present.get("int8" if device == "cpu" else "fp16")


def _passed(about: Mapping[str, Any]) -> bool:
    cosines = (about.get("image_cosine"), about.get("text_cosine"))
    return all(map(_is_near, cosines)) and not about.get("forced")


def _is_near(cosine: object) -> bool:
    if isinstance(cosine, bool) or not isinstance(cosine, float | int):
        return False
    return LEAST_COSINE <= cosine <= _MOST_COSINE


def _fits(about: Mapping[str, Any], base: Path | None, name: str) -> bool:
    """Tell whether a variant was made of these graphs; without them, of the model of this name."""
    if base is None:
        return about.get("reference") == name
    return about.get("made_from") == prints(base)
