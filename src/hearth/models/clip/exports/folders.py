"""Folders of ONNX files: which make up a pair, whose they are, and what is wrong with them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hearth._version import __version__
from hearth.errors import ModelUnavailable
from hearth.files import fingerprint
from hearth.hub.atomic import about, write_json
from hearth.hub.hashes import content
from hearth.hub.integrity import damage, is_onnx
from hearth.hub.layout import ABOUT, Layout, files_in, select
from hearth.models.clip.exports.commands import how_to_make_again
from hearth.models.clip.files import IMAGE, TEXT

TOWERS = (IMAGE, TEXT)


def model_files(folder: Path) -> tuple[str, ...]:
    """The files that make up the pair, as paths in the folder; raises ModelUnavailable."""
    return select(Layout.ONNX, files_in(folder), folder)


def prints(folder: Path) -> dict[str, dict[str, Any]]:
    """Fingerprints of the graphs and all that lies beside them; raises ModelUnavailable."""
    towers = {path.parent for path in TOWERS}
    try:
        return fingerprint(
            folder / name for name in model_files(folder) if Path(name).parent in towers
        )
    except OSError as error:
        raise ModelUnavailable(f"{folder} can't be read: {error}") from error


def write_about(work: Path, told: Mapping[str, Any], *packages: str) -> None:
    """Write ``hearth.json`` into a finished folder, with what every export says.

    ``packages`` are those whose versions its files depend on.
    """
    write_json(
        work / ABOUT,
        {
            "format": 1,
            **told,
            "files": prints(work),
            "content": content(work),
            "versions": {"hearth": __version__, **{name: version(name) for name in packages}},
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )


def what_is_damaged(folder: Path, name: str, precision: str = "fp32") -> str | None:
    """What is wrong with an export of the model of that full name, and how to make it anew.

    None where there is none of that model, or nothing is known to be wrong with it.
    """
    if not is_onnx(folder) or not belongs(folder, name) or (why := damage(folder)) is None:
        return None
    again = how_to_make_again({**about(folder), "reference": name}, precision)
    return f"{folder} is damaged ({why}): {again}"


def belongs(folder: Path, name: str) -> bool:
    """Whether an export was made of the model of that full name, as far as it tells.

    Equal names of two organisations share a folder; earlier exports don't say whose they are.
    """
    return about(folder).get("reference") in (None, name)


def require_own(folder: Path, name: str) -> None:
    """Refuse to replace another model's export; raises ModelUnavailable."""
    if folder.is_dir() and not belongs(folder, name):
        name_of_it = folder.name if "@" in folder.name else f"{folder.name}@fp32"
        raise ModelUnavailable(
            f"{folder} holds {about(folder)['reference']}: remove it with `hearth models remove "
            f"{name_of_it}`, or choose another folder with --out"
        )
