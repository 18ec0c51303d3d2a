"""Exports of a model as a node finds them: whose they are, what is wrong with them, their copies.

They are written by ``hearth.export``: a node only reads them.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hearth.errors import ModelUnavailable
from hearth.families.clip.files import IMAGE, TEXT
from hearth.files import fingerprint
from hearth.hub.atomic import about
from hearth.hub.integrity import damage, is_onnx, is_sound
from hearth.hub.layout import ModelLayout, files_in, select
from hearth.hub.manifest import DYNAMIC_BATCH, impossible_mark, made_of

TOWERS = (IMAGE, TEXT)


def model_files(folder: Path) -> tuple[str, ...]:
    """List the files that make up the pair, as paths in the folder; raises ModelUnavailable."""
    return select(ModelLayout.ONNX, files_in(folder), folder)


def prints(folder: Path) -> dict[str, dict[str, Any]]:
    """Take fingerprints of the graphs and all that lies beside them; raises ModelUnavailable."""
    towers = {path.parent for path in TOWERS}
    try:
        return fingerprint(
            folder / name for name in model_files(folder) if Path(name).parent in towers
        )
    except OSError as error:
        raise ModelUnavailable(f"{folder} can't be read: {error}") from error


def what_is_damaged(folder: Path, name: str, precision: str = "fp32") -> str | None:
    """Tell what is wrong with an export of the model of that full name, and how to make it anew.

    None where there is none of that model, or nothing is known to be wrong with it.
    """
    if not is_onnx(folder) or not belongs(folder, name) or (why := damage(folder)) is None:
        return None
    again = how_to_make_again({**about(folder), "reference": name}, precision)
    return f"{folder} is damaged ({why}): {again}"


def belongs(folder: Path, name: str) -> bool:
    """Tell whether an export was made of the model of that full name, as far as it tells.

    Equal names of two organisations share a folder; earlier exports don't say whose they are.
    """
    return about(folder).get("reference") in (None, name)


def dynamic_copy(snapshot: Path) -> Path | None:
    """Find the copy of a download with a free batch axis; None where there is none of these files.

    It lies beside the snapshot in the hub's folder, so it goes when the download goes.
    """
    copy = made_of(snapshot, DYNAMIC_BATCH)
    if not is_sound(copy):
        return None
    return copy if about(copy).get("made_from") == prints(snapshot) else None


def is_impossible(snapshot: Path) -> bool:
    """Tell whether an earlier try found that none of a download's graphs can be rewritten."""
    return impossible_mark(snapshot, DYNAMIC_BATCH).is_file()


def how_to_convert(name: str, precision: str) -> str:
    """Return the command that makes a model's variant."""
    return f"run `hearth models export {shlex.quote(name)} --precision {precision}`"


def how_to_export(name: str, checkpoint: str | None = None) -> str:
    """Return the command that makes a model's export in fp32, of a file of weights if it was."""
    more = f" --checkpoint {shlex.quote(checkpoint)}" if checkpoint else ""
    return f"run `hearth models export {shlex.quote(name)}{more}`"


def how_to_make_again(metadata: Mapping[str, Any], precision: str) -> str | None:
    """Return the command that made an export, out of its ``hearth.json``; None: it is silent."""
    name, checkpoint = metadata.get("reference"), metadata.get("checkpoint")
    if not isinstance(name, str):
        return None
    if precision != "fp32":
        return how_to_convert(name, precision)
    return how_to_export(name, checkpoint if isinstance(checkpoint, str) else None)
