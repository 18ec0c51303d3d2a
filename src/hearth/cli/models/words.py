"""Model files in words, and as lines of ``--json``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hearth.errors import ModelUnavailable
from hearth.hub.model_files import ModelFiles, matching


def choose(found: list[ModelFiles], names: Sequence[str]) -> list[ModelFiles]:
    """Choose what the names mean, each once; everything without names. Raises ModelUnavailable."""
    if not names:
        return found
    chosen: dict[Path, ModelFiles] = {}
    for name in names:
        matches = matching(found, name)
        if not matches:
            here = ", ".join(dict.fromkeys(files.name for files in found)) or "nothing"
            raise ModelUnavailable(f"nothing here is called {name}; here are: {here}")
        chosen.update((files.path, files) for files in matches)
    return list(chosen.values())


def files_as_json(files: ModelFiles) -> dict[str, Any]:
    """Make a line of ``--json`` of a folder."""
    return {
        "kind": str(files.kind),
        "model": files.model,
        "precision": files.precision or None,
        "bytes": files.size,
        "state": str(files.condition),
        "path": str(files.path),
        "note": note_on(files) or None,
    }


def note_on(files: ModelFiles) -> str:
    """Tell what else is in a folder, and what is wrong with it."""
    return ", ".join(filter(None, [files.fault, *map(copy_in_words, files.copies)]))


def copy_in_words(folder: Path) -> str:
    """Tell what a copy beside a download is: COMMIT-free-batch has a free batch axis."""
    return f"copy with a {folder.name.partition('-')[2].replace('-', ' ')} axis"
