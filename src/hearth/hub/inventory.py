"""Model files in a data folder: found, checked against what they should hold, removed.

Whoever lists files, checks or removes them needs none of a node's packages but ``filelock``.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hearth.errors import ModelUnavailable
from hearth.hub.atomic import about
from hearth.hub.hashes import faults
from hearth.hub.integrity import damage, damage_at_a_glance, is_onnx, mark, restore_all, unmark
from hearth.hub.maintenance import Condition, size_of, stored
from hearth.hub.model_files import FilesKind, ModelFiles, PackagedFiles
from hearth.hub.progress import Progress, no_progress
from hearth.hub.store import HubStore

_LONGEST = 4096
"""Characters of a name, which may be a folder's whole path."""


@dataclass(frozen=True)
class Verification:
    """Outcome of reading every byte of one folder."""

    state: Literal["right", "wrong", "unchecked"]
    problems: Sequence[str] = ()
    """Faults of its own files, a line each."""
    copies: dict[Path, list[str]] = field(default_factory=dict)
    """Faults of copies beside a download; they were removed."""
    by_ends: bool = False
    """Whether only the sizes and both ends of files could be compared, for want of hashes."""


class ModelInventory:
    """The model files in a data folder; methods block.

    ``packaged`` are those that packages carry; ``labels`` tells, by the name of each service that
    keeps label vectors, what is wrong with a folder of these.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        packaged: Iterable[PackagedFiles],
        labels: Mapping[str, Callable[[Path], list[str]]],
    ) -> None:
        self._data_dir = data_dir
        self._hub = HubStore(data_dir, offline=True)
        self._packaged = tuple(packaged)
        self._labels = labels

    def files(self) -> list[ModelFiles]:
        """List all that is here, by kind and name; reads small files and sizes only."""
        return [
            *self._downloads(),
            *self._from_packages(),
            *self._exports(),
            *self._label_vectors(),
        ]

    def verify(self, files: ModelFiles, progress: Progress = no_progress) -> Verification:
        """Read every byte of a folder, and compare it with what it should hold.

        A download's file that is wrong counts no longer, a copy that is wrong is removed, an
        export that is wrong is marked: a node doesn't take it. Raises ModelUnavailable where
        that can't be told, or the disk refuses.
        """
        try:
            if files.packaged is not None:
                return _verify_packaged(files, files.packaged, progress)
            if files.kind is FilesKind.DOWNLOAD:
                return self._verify_download(files, progress)
            if files.kind is FilesKind.EXPORT:
                return _verify_export(files, progress)
            return _verification(self._labels[files.path.parents[1].name](files.path))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ModelUnavailable(f"{error.filename or files.path}: {reason}") from error

    def remove(self, files: ModelFiles) -> int:
        """Remove a folder's files; gives the bytes that are free now. Raises ModelUnavailable."""
        if files.kind is FilesKind.DOWNLOAD:
            return self._hub.remove(files.model)
        if files.packaged is not None:
            return files.packaged.remove()
        try:
            return _remove_folder(files)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ModelUnavailable(f"can't remove {files.path}: {reason}") from error

    def _downloads(self) -> Iterator[ModelFiles]:
        for found in stored(self._hub.folder):
            yield ModelFiles(
                FilesKind.DOWNLOAD,
                found.repository,
                "",
                found.size,
                found.condition,
                found.folder,
                copies=found.made,
            )

    def _from_packages(self) -> Iterator[ModelFiles]:
        for packaged in self._packaged:
            if (condition := packaged.condition()) is not None:
                yield ModelFiles(
                    FilesKind.PACKAGED,
                    packaged.model,
                    "fp32",
                    packaged.size(),
                    condition,
                    packaged.folder,
                    packaged=packaged,
                )

    def _exports(self) -> Iterator[ModelFiles]:
        exports = self._data_dir / "exports"
        restore_all(exports)
        for folder in _folders(exports, "*"):
            metadata = about(folder)
            base, _, variant = folder.name.partition("@")
            fault = (damage(folder) or "") if is_onnx(folder) else ""
            condition = Condition.DAMAGED if fault else Condition.WHOLE
            yield ModelFiles(
                FilesKind.EXPORT,
                _plain(metadata.get("model_id"), base),
                variant or _plain(metadata.get("precision"), "fp32"),
                size_of(folder),
                condition if is_onnx(folder) else Condition.PARTIAL,
                folder,
                _plain(metadata.get("reference"), ""),
                fault=fault,
            )

    def _label_vectors(self) -> Iterator[ModelFiles]:
        for service in self._labels:
            for folder in _folders(self._data_dir / service, "*/*"):
                metas = sorted(folder.glob("*.meta.json"))
                made_from = _json(metas[0]).get("made_from") if metas else None
                metadata = made_from if isinstance(made_from, dict) else {}
                is_partial = not metas or any(folder.glob(".*.partial"))
                yield ModelFiles(
                    FilesKind.LABELS,
                    _plain(metadata.get("model_id"), folder.name),
                    _plain(metadata.get("precision"), ""),
                    size_of(folder),
                    Condition.PARTIAL if is_partial else Condition.WHOLE,
                    folder,
                )

    def _verify_download(self, files: ModelFiles, progress: Progress) -> Verification:
        problems = self._hub.verify(files.model, progress)
        checked = ((copy, self._verify_copy(files, copy, progress)) for copy in files.copies)
        copies = {copy: wrong for copy, wrong in checked if wrong}
        return Verification("wrong" if problems or copies else "right", problems, copies)

    def _verify_copy(self, files: ModelFiles, copy: Path, progress: Progress) -> list[str]:
        """Tell what is wrong with a copy beside a download: it is taken away then."""
        try:
            found = faults(copy, about(copy), progress)
        except ModelUnavailable as error:
            found = [str(error)]
        problems = ["nothing tells what it should be"] if found is None else found
        if problems:
            with self._hub.making(files.model, progress):
                _take_away(copy)
        return problems


def _verification(problems: list[str]) -> Verification:
    return Verification("wrong" if problems else "right", problems)


def _verify_packaged(
    files: ModelFiles, packaged: PackagedFiles, progress: Progress
) -> Verification:
    problems = packaged.verify(progress)
    if not problems and files.condition is Condition.PARTIAL:
        return Verification("unchecked")  # not one of them is here
    return _verification(problems)


def _verify_export(files: ModelFiles, progress: Progress) -> Verification:
    if files.condition is Condition.PARTIAL:
        return Verification("wrong", ["files of the model are missing"])
    metadata = about(files.path)
    problems = faults(files.path, metadata, progress)
    if not problems and (why := damage_at_a_glance(files.path)):
        problems = [why]
    if problems:
        mark(files.path, problems)
        return Verification("wrong", problems)
    unmark(files.path)
    if problems is None:
        return Verification("unchecked")
    return Verification("right", by_ends=not metadata.get("content"))


def _remove_folder(files: ModelFiles) -> int:
    """Remove what vouches for the files first: what a crash leaves then counts for nothing."""
    if files.path.is_symlink():
        files.path.unlink()
        return 0
    for meta in files.path.glob("*.meta.json"):
        meta.unlink()
    _take_away(files.path)
    return files.size


def _take_away(folder: Path) -> None:
    """Remove a folder that is there whole, or not at all; raises OSError."""
    gone = folder.with_name(f".{folder.name}.{os.getpid()}")  # nobody looks for that name
    folder.replace(gone)
    shutil.rmtree(gone)


def _folders(place: Path, pattern: str) -> list[Path]:
    return sorted(
        path for path in place.glob(pattern) if path.is_dir() and not path.name.startswith(".")
    )


def _plain(value: object, otherwise: str) -> str:
    """Take a text out of a file that anything may be in, fit to be shown on a terminal."""
    is_plain = isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isprintable()
    return str(value) if is_plain else otherwise


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
