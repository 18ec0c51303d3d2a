"""Folders of model files: what is known of each, and which of them a user's name means."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from hearth.errors import SettingsError
from hearth.hub.maintenance import Condition
from hearth.hub.progress import Progress
from hearth.hub.reference import parse
from hearth.hub.repository_names import is_repository

PRECISIONS = ("fp32", "fp16", "int8")


class FilesKind(StrEnum):
    """Kind of model files: where they come from."""

    DOWNLOAD = "download"
    PACKAGED = "from a wheel"
    EXPORT = "export"
    LABELS = "label vectors"


class PackagedFiles(Protocol):
    """The files of one service that a package carries; methods block."""

    @property
    def folder(self) -> Path:
        """Folder that they are in; a user may name them by its name."""
        ...

    @property
    def model(self) -> str:
        """Model id."""
        ...

    @property
    def loss(self) -> str:
        """Work that running nodes can't do once the files are removed; empty: none."""
        ...

    def condition(self) -> Condition | None:
        """Tell how the files are, going by their sizes; None where nothing is here."""
        ...

    def size(self) -> int:
        """Count the bytes of all that ``remove`` would take away."""
        ...

    def verify(self, progress: Progress) -> list[str]:
        """Tell what is wrong with the files, a line for each; raises ModelUnavailable.

        Where some are here and others aren't, those that are missing are wrong as well. Reads
        every byte. What is wrong counts no longer: the next download brings it anew.
        """
        ...

    def remove(self) -> int:
        """Remove the files; gives the bytes that are free now. Raises ModelUnavailable."""
        ...


@dataclass(frozen=True)
class ModelFiles:
    """One folder of files that belong together."""

    kind: FilesKind
    model: str
    """A repository's name; else the model's id."""
    precision: str
    """Precision of the weights; empty where the files don't tell."""
    size: int
    """Bytes of all its files."""
    condition: Condition
    """Condition of the files, going by sizes and manifests."""
    path: Path
    reference: str = ""
    """Full name of the model that an export was made of, where it tells."""
    copies: tuple[Path, ...] = ()
    """Folders within a download's own of what was made of it here."""
    fault: str = ""
    """Fault of an export that is damaged."""
    packaged: PackagedFiles | None = None
    """Package that the files come with: who checks and removes them."""

    @property
    def base(self) -> str:
        """Folder's name without the precision of a variant."""
        return self.path.name.partition("@")[0]

    @property
    def name(self) -> str:
        """Name that a user may write for this one alone."""
        is_variant = self.kind is FilesKind.EXPORT and "@" in self.path.name
        return f"{self.model}@{self.precision}" if is_variant else self.model


def matching(found: Iterable[ModelFiles], name: str) -> list[ModelFiles]:
    """Choose what a user means by a name.

    A repository's name means its download. A model's means its exports of every precision
    and its label vectors, and the downloads that ``pull`` brings for it; NAME@PRECISION is
    one export alone.
    """
    base, _, precision = name.rpartition("@")
    if precision not in PRECISIONS:  # ViT-L/14@336px is a name
        base, precision = name, ""
    repositories, folder = _named(base)

    def fits(files: ModelFiles) -> bool:
        if files.kind is FilesKind.DOWNLOAD:
            return not precision and files.model in repositories
        if precision and (files.kind is not FilesKind.EXPORT or files.precision != precision):
            return False
        return base == files.model or files.base in (base, folder)

    return [files for files in found if fits(files)]


def _named(name: str) -> tuple[tuple[str, ...], str]:
    """Return the repositories and the folder that belong to a model's name."""
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
