"""What model files lie in the data folder: downloads, exports, label vectors, packages' files."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hearth.errors import ModelUnavailable

if TYPE_CHECKING:
    from hearth.models.packaged import Packaged

PRECISIONS = ("fp32", "fp16", "int8")

_LONGEST = 4096
"""Characters of a name, which may be a folder's whole path."""


class Kind(StrEnum):
    """Where files come from."""

    DOWNLOAD = "download"
    PACKAGED = "from a wheel"
    EXPORT = "export"
    LABELS = "label vectors"


@dataclass(frozen=True)
class Item:
    """One folder of files that belong together."""

    kind: Kind
    model: str
    """A repository's name; else the model's id."""
    precision: str
    """Empty where the files don't tell."""
    size: int
    """Bytes of all its files."""
    state: str
    """``whole``, ``partial`` or ``damaged``, going by sizes and records."""
    path: Path
    reference: str = ""
    """Of an export: the full name of the model that it was made of, where it tells."""
    copies: tuple[Path, ...] = ()
    """Of a download: folders within its own of what was made of it here."""
    fault: str = ""
    """Of an export that is damaged: what is wrong with it."""
    packaged: "Packaged | None" = None
    """Of what comes with a package: who checks and removes it."""

    @property
    def base(self) -> str:
        """The folder's name without the precision of a variant."""
        return self.path.name.partition("@")[0]

    @property
    def name(self) -> str:
        """What a user may write for this one alone."""
        is_variant = self.kind is Kind.EXPORT and "@" in self.path.name
        return f"{self.model}@{self.precision}" if is_variant else self.model

    @property
    def note(self) -> str:
        """What else is in the folder, and what is wrong with it."""
        return ", ".join(filter(None, [self.fault, *map(copy_in_words, self.copies)]))

    def to_json(self) -> dict[str, Any]:
        """As a line of ``--json``."""
        return {
            "kind": str(self.kind),
            "model": self.model,
            "precision": self.precision or None,
            "bytes": self.size,
            "state": self.state,
            "path": str(self.path),
            "note": self.note or None,
        }


def items(data_dir: Path) -> list[Item]:
    """Everything that is here, by kind and name; reads small files and sizes only."""
    return [
        *_downloads(data_dir),
        *_packaged(data_dir),
        *_exports(data_dir),
        *_label_vectors(data_dir),
    ]


def matching(found: Iterable[Item], name: str) -> list[Item]:
    """What a user means by a name.

    A repository's name means its download. A model's means its exports of every precision
    and its label vectors, and the downloads that ``pull`` brings for it; NAME@PRECISION is
    one export alone.
    """
    base, _, precision = name.rpartition("@")
    if precision not in PRECISIONS:  # ViT-L/14@336px is a name
        base, precision = name, ""
    repositories, folder = _meant(base)

    def fits(item: Item) -> bool:
        if item.kind is Kind.DOWNLOAD:
            return not precision and item.model in repositories
        if precision and (item.kind is not Kind.EXPORT or item.precision != precision):
            return False
        return base == item.model or item.base in (base, folder)

    return [item for item in found if fits(item)]


def chosen_of(found: list[Item], names: list[str]) -> list[Item]:
    """What the names mean, each once; everything without names. Raises ModelUnavailable."""
    if not names:
        return found
    chosen: dict[Item, None] = {}
    for name in names:
        meant = matching(found, name)
        if not meant:
            here = ", ".join(dict.fromkeys(item.name for item in found)) or "nothing"
            raise ModelUnavailable(f"nothing here is called {name}; here are: {here}")
        chosen.update(dict.fromkeys(meant))
    return list(chosen)


def in_words(size: int) -> str:
    """Bytes, with the unit that fits: 12 kB, 610.3 MB, 1.71 GB."""
    if size < 1e6:
        return f"{-(-size // 1000)} kB"
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.2f} GB"


def _meant(name: str) -> tuple[tuple[str, ...], str]:
    """The repositories and the folder that belong to a model's name."""
    from hearth.errors import SettingsError
    from hearth.hub.names import is_repository
    from hearth.hub.reference import parse

    plain = name.removeprefix("hf-hub:")
    if is_repository(plain):
        return (plain,), name
    try:
        reference = parse(name)
    except SettingsError:
        return (), name
    if reference.architecture is None:
        return (), name
    return reference.onnx_repositories(), reference.folder_name


def _downloads(data_dir: Path) -> Iterator[Item]:
    from hearth.hub.maintenance import stored

    for found in stored(data_dir / "hub"):
        state = str(found.condition)
        yield Item(
            Kind.DOWNLOAD,
            found.repository,
            "",
            found.size,
            state,
            found.folder,
            copies=found.made,
        )


def _packaged(data_dir: Path) -> Iterator[Item]:
    from hearth.models.packaged import packaged_in

    for files in packaged_in(data_dir):
        if (state := files.condition()) is not None:
            yield Item(
                Kind.PACKAGED,
                files.model,
                "fp32",
                files.size(),
                str(state),
                files.folder,
                packaged=files,
            )


def _exports(data_dir: Path) -> Iterator[Item]:
    from hearth.hub.integrity import damage, is_onnx, restore_all
    from hearth.hub.maintenance import size_of

    restore_all(data_dir / "exports")
    for folder in _folders(data_dir / "exports", "*"):
        about = read_about(folder)
        base, _, variant = folder.name.partition("@")
        precision = variant or _plain(about.get("precision"), "fp32")
        fault = (damage(folder) or "") if is_onnx(folder) else ""
        state = ("damaged" if fault else "whole") if is_onnx(folder) else "partial"
        yield Item(
            Kind.EXPORT,
            _plain(about.get("model_id"), base),
            precision,
            size_of(folder),
            state,
            folder,
            _plain(about.get("reference"), ""),
            fault=fault,
        )


def _label_vectors(data_dir: Path) -> Iterator[Item]:
    from hearth.hub.maintenance import size_of
    from hearth.settings import Settings

    defaults = Settings()
    for service in filter(defaults.of_model, Settings.model_fields):
        for folder in _folders(data_dir / service, "*/*"):
            metas = sorted(folder.glob("*.meta.json"))
            made_from = _json(metas[0]).get("made_from") if metas else None
            about = made_from if isinstance(made_from, dict) else {}
            yield Item(
                Kind.LABELS,
                _plain(about.get("model_id"), folder.name),
                _plain(about.get("precision"), ""),
                size_of(folder),
                "partial" if not metas or any(folder.glob(".*.partial")) else "whole",
                folder,
            )


def _folders(place: Path, pattern: str) -> list[Path]:
    return sorted(
        path for path in place.glob(pattern) if path.is_dir() and not path.name.startswith(".")
    )


def read_about(folder: Path) -> dict[str, Any]:
    """What an export says of itself; empty where it says nothing that can be read."""
    from hearth.hub.layout import ABOUT

    return _json(folder / ABOUT)


def copy_in_words(folder: Path) -> str:
    """What a copy beside a download is: COMMIT-free-batch is one with a free batch axis."""
    return f"copy with a {folder.name.partition('-')[2].replace('-', ' ')} axis"


def _plain(value: object, otherwise: str) -> str:
    """A text out of a file that anything may be in: as it may be shown on a terminal."""
    is_plain = isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isprintable()
    return str(value) if is_plain else otherwise


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
