"""An export in several precisions: where each lies, and which a node takes.

data/exports/NAME/         fp32
data/exports/NAME@int8/    the same model for a CPU
data/exports/NAME@fp16/    the same model for a GPU
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hearth.backends.onnx import CPU, first_provider
from hearth.errors import ModelUnavailable
from hearth.models.clip import folders
from hearth.settings import ClipSettings

LEAST_COSINE = 0.99
"""Below it a variant is no stand-in for the original: it is refused, and never chosen."""


def variant_folder(export: Path, precision: str) -> Path:
    """Where a variant lies, beside the export in fp32."""
    return export.with_name(f"{export.name}@{precision}")


def choose(base: Path | None, export: Path, settings: ClipSettings, name: str) -> Path | None:
    """The folder of the precision that is wanted; None where it isn't here.

    ``base`` are the graphs as they came, where they are here; ``export`` is the place of the
    export in fp32. Raises ModelUnavailable where a variant is asked for that was made of
    other graphs, BackendUnavailable for a device that can't be had.
    """
    if settings.precision == "auto":
        return _best(base, export, settings)
    here = precision_of(base) if base else ""
    if here == settings.precision:
        return base
    if settings.precision == "fp32":
        if base is not None:
            raise ModelUnavailable(f"{base} is {here}: name another, or set precision = {here}")
        return None
    variant = variant_folder(export, settings.precision)
    if not folders.is_onnx(variant):
        return None
    if not _fits(folders.about(variant), base):
        raise ModelUnavailable(
            f"{variant} was made of other files than are here now: "
            f"{how_to_convert(name, settings.precision)}"
        )
    return variant


def precision_of(folder: Path) -> str:
    """What a folder's ``hearth.json`` says of its weights; fp32 where it says nothing."""
    return str(folders.about(folder).get("precision") or "fp32")


def how_to_convert(name: str, precision: str) -> str:
    """The command that makes a variant."""
    return f"run `hearth models export {name} --precision {precision}`"


def _best(base: Path | None, export: Path, settings: ClipSettings) -> Path | None:
    """The variant that is fastest on the device and was proved; else the graphs as they came."""
    here = [name for name in ("int8", "fp16") if folders.is_onnx(variant_folder(export, name))]
    if not here:
        return base
    on_cpu = first_provider(settings.device, settings.ort_providers) == CPU
    wanted = "int8" if on_cpu else "fp16"
    variant = variant_folder(export, wanted)
    told = folders.about(variant) if wanted in here else {}
    return variant if _passed(told) and _fits(told, base) else base


def _passed(about: Mapping[str, Any]) -> bool:
    cosines = (about.get("image_cosine"), about.get("text_cosine"))
    near = all(isinstance(value, float | int) and value >= LEAST_COSINE for value in cosines)
    return near and not about.get("forced")


def _fits(about: Mapping[str, Any], base: Path | None) -> bool:
    """Whether a variant was made of these graphs; without them there is nothing to compare."""
    return base is None or about.get("made_from") == folders.prints(base)
