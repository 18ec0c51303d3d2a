"""The commands that make exports, as errors and `hearth models verify` tell them."""

import shlex
from collections.abc import Mapping
from typing import Any


def how_to_convert(name: str, precision: str) -> str:
    """The command that makes a model's variant."""
    return f"run `hearth models export {shlex.quote(name)} --precision {precision}`"


def how_to_export(name: str, checkpoint: str | None = None) -> str:
    """The command that makes a model's export in fp32, of a file of weights if it was."""
    more = f" --checkpoint {shlex.quote(checkpoint)}" if checkpoint else ""
    return f"run `hearth models export {shlex.quote(name)}{more}`"


def how_to_make_again(told: Mapping[str, Any], precision: str) -> str | None:
    """The command that made an export whose ``hearth.json`` says this; None: it doesn't tell."""
    name, checkpoint = told.get("reference"), told.get("checkpoint")
    if not isinstance(name, str):
        return None
    if precision != "fp32":
        return how_to_convert(name, precision)
    return how_to_export(name, checkpoint if isinstance(checkpoint, str) else None)
