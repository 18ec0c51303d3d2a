"""Which files make up a model, in a local folder or in a repository of the hub."""

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path, PurePosixPath

from hearth.errors import ModelUnavailable

ABOUT = "hearth.json"
"""File beside graphs that were made here: what they are, and of what they were made."""


class ModelLayout(StrEnum):
    """Layout of the files of a CLIP model."""

    ONNX = "onnx"
    """Two graphs, ``visual/model.onnx`` and ``textual/model.onnx``, as immich-app publishes."""
    OPEN_CLIP = "open_clip"
    """``open_clip_config.json`` and one file of weights, as open_clip publishes."""


_NEEDED: dict[ModelLayout, tuple[tuple[str, ...], ...]] = {
    ModelLayout.ONNX: (
        ("visual/model.onnx",),
        ("visual/preprocess_cfg.json",),
        ("textual/model.onnx",),
        ("textual/tokenizer.json",),
    ),
    ModelLayout.OPEN_CLIP: (
        ("open_clip_config.json",),
        # The safe format where there is a choice; the others are pickles.
        (
            "open_clip_model.safetensors",
            "open_clip_pytorch_model.safetensors",
            "open_clip_pytorch_model.bin",
        ),
    ),
}
"""Files that each layout can't do without: one of each group, the first that is there."""

_TOKENIZER = frozenset(
    {
        "added_tokens.json",
        "config.json",
        "merges.txt",
        "sentencepiece.bpe.model",
        "special_tokens_map.json",
        "spiece.model",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "vocab.json",
        "vocab.txt",
    }
)
"""Files beside open_clip's weights: whatever the model's tokenizer may be made from."""

_FOREIGN = frozenset({".armnn", ".engine", ".mlmodel", ".onnx", ".rknn", ".tflite", ".xml"})
"""Names of the same graph for other engines; an ``.onnx`` other than the model is another
precision."""


def files_in(folder: Path) -> list[str]:
    """List all files in a folder, relative to it, with ``/``; raises ModelUnavailable."""
    if not folder.is_dir():
        raise ModelUnavailable(f"there is no folder {folder}")
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def layouts(files: Iterable[str]) -> tuple[ModelLayout, ...]:
    """List the layouts that the files amount to; a folder may hold both."""
    present = set(files)
    return tuple(layout for layout in ModelLayout if not _missing(layout, present))


def lacking(layout: ModelLayout, folder: Path) -> str | None:
    """Find the first file that a folder lacks of a layout; looks at no other files."""
    needed = [name for group in _NEEDED[layout] for name in group]
    return _missing(layout, {name for name in needed if (folder / name).is_file()})


def select(layout: ModelLayout, files: Iterable[str], where: object) -> tuple[str, ...]:
    """Choose the files of a layout, sorted: what to download, and what to load.

    Variants for other engines and precisions stay out; data that a large graph keeps in
    files beside it comes along. ``where`` is what the error names. Raises
    ModelUnavailable with the first file that is missing.
    """
    present = set(files)
    missing = _missing(layout, present)
    if missing:
        raise ModelUnavailable(f"{where} holds no {layout} model: {missing} is missing")
    chosen = {next(name for name in group if name in present) for group in _NEEDED[layout]}
    if layout is ModelLayout.ONNX:
        chosen |= _beside_graphs(present)
    else:
        chosen |= present & _TOKENIZER
    return tuple(sorted(chosen))


def _missing(layout: ModelLayout, present: set[str]) -> str | None:
    for group in _NEEDED[layout]:
        if not present & set(group):
            return " or ".join(group)
    return None


def _beside_graphs(present: set[str]) -> set[str]:
    """Return the files right beside the two graphs that belong to them, and ``config.json``."""
    chosen = present & {"config.json", ABOUT}
    for tower in ("visual", "textual"):
        beside = {path for path in present if PurePosixPath(path).parent.as_posix() == tower}
        variants = tuple(
            path for path in beside if path.endswith(".onnx") and path != f"{tower}/model.onnx"
        )
        # External data is named as the exporter likes (onnx__MatMul_7239), so it is what
        # is left once everything that is known to be something else is taken away.
        chosen |= {
            path
            for path in beside
            if PurePosixPath(path).suffix not in _FOREIGN and not path.startswith(variants)
        }
    return chosen
