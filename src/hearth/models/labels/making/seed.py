"""Label vectors that the seed has cached: an npz of ``names`` and ``vecs``.

The names are an array of objects, so they are pickled; and files may come from anywhere.
"""

import logging
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from hearth.errors import one_line
from hearth.models.labels.matrices import NpyMatrix
from hearth.models.labels.sets.catalogue import Catalogue
from hearth.models.labels.sets.source import LabelSource

log = logging.getLogger(__name__)

_LONGEST = 1 << 30
"""Bytes of pickled names; a file that claims more is lying."""


def seed_vectors(path: Path, source: LabelSource, catalogue: Catalogue) -> NpyMatrix | None:
    """The vectors in a cache, as far as names tell those of these labels.

    None where there is no such file, or one of another number of labels, which is another
    set's. Names that can't be read safely tell nothing. Raises OSError, or ValueError where
    the file holds something else.
    """
    if not path.is_file():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            # Stays readable when the archive is closed.
            file = archive.open(_member(archive, "vecs.npy"))
            try:
                vectors = NpyMatrix(file)
                if vectors.rows == len(catalogue.labels):
                    _compare(_read_names(archive), source, catalogue)
                    return vectors
            except BaseException:
                file.close()
                raise
            file.close()
            return None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ValueError(f"{path} can't be read: {one_line(error)}") from error


def _compare(names: list[object] | None, source: LabelSource, catalogue: Catalogue) -> None:
    if names is None:
        return
    if len(names) != len(catalogue.labels):
        raise ValueError(f"there are {len(names)} names for {len(catalogue.labels)} labels")
    for index, (label, name) in enumerate(zip(catalogue.labels, names, strict=True)):
        if not source.means(label, name):
            raise ValueError(f"name {index} is {str(name)[:80]!r}, the label is {label!r}")


def _read_names(archive: zipfile.ZipFile) -> list[object] | None:
    try:
        member = _member(archive, "names.npy")
        if member.file_size > _LONGEST:
            return None
        with archive.open(member) as file:
            return _names(file)
    except Exception as error:  # a pickle can raise anything
        log.info("the names in %s are not read: %s", archive.filename, one_line(error))
        return None


def _member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    try:
        return archive.getinfo(name)
    except KeyError as error:
        raise ValueError(f"{archive.filename} holds no {name}") from error


def _names(file: IO[bytes]) -> list[object]:
    version = np.lib.format.read_magic(file)
    shape, _, dtype = (
        np.lib.format.read_array_header_1_0(file)
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0(file)
    )
    if dtype.hasobject:
        content = _Unpickler(file).load()
        flat = content.items if isinstance(content, _Pickled) else content
    else:
        flat = np.frombuffer(file.read(), dtype).tolist()
    if not isinstance(flat, list):
        raise ValueError("no list of names")
    if len(shape) == 2:
        width = shape[1]
        return [tuple(flat[at : at + width]) for at in range(0, len(flat), width)]
    return flat


class _Pickled:
    """Stands in for an array, of which nothing but the list of its items is wanted."""

    items: list[object] | None = None

    def __setstate__(self, state: Any) -> None:
        # numpy's own: version, shape, dtype, order, items
        if isinstance(state, tuple) and isinstance(state[-1], list):
            self.items = state[-1]


def _stand_in(*_: object) -> _Pickled:
    return _Pickled()


class _Unpickler(pickle.Unpickler):
    """Plain lists, tuples and strings, in an array of numpy's; refuses every other name.

    Not even numpy's own functions are called: what they make of a garbled state is theirs.
    """

    def find_class(self, module: str, name: str) -> Any:
        package = module.partition(".")[0]
        if package == "numpy" and name in {"_reconstruct", "ndarray", "dtype"}:
            return _stand_in
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a list of names")
